"""Questions that were asked once and can be asked again; each writes its own page or picture."""

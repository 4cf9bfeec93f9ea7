"""Where images come from and parts go to: local folders, object stores, whatever pyarrow or fsspec opens."""

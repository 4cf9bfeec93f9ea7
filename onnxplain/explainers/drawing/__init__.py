"""Pictures: heat over photos, boxes, text in any script, colour bars, sheets of several pictures."""

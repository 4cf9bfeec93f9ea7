"""Every method on every kind of head, and the targets that go beyond an index."""

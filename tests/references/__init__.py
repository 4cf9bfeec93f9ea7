"""Methods against other libraries, each in an environment of its own, on one network (make test-references)."""

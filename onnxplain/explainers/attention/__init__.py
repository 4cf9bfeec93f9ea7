"""Methods that follow the attention of a transformer from token to token."""

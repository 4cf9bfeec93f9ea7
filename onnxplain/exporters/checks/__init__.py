"""What every file passes before it is written; knows graphs and their anatomy, and nothing of what made the file."""

"""Hostile files and arguments: each case is a command in a process of its own, with limits, whose end is judged."""

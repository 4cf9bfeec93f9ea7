"""What every file passes before it is written; knows graphs and their anatomy, and no rule of differentiation."""

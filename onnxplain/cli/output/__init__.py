"""What commands print: tables, progress, descriptions, reports."""

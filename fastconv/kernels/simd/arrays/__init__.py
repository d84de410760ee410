"""Windows as columns, and what is done element by element."""

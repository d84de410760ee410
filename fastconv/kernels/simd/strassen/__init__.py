"""Strassen's algorithm over halves of positions and channels."""

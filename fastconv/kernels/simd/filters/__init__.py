"""Filters of one channel that are columns times rows."""

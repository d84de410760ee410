"""Winograd's minimal filtering, of tiles and of rows."""

"""What the families share: walks over a geometry, operands laid out, register tiles, tables and costs."""

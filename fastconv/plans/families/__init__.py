"""The implementations of each operation: modules that the registry imports when a family is first asked for."""

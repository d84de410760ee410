"""How a call is served: the registry of implementations, the choice among them, and plans."""

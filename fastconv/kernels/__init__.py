"""The implementations: one module a family. A family imports jit, activations, machine and geometry, never another family."""

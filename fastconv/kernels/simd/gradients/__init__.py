"""The gradient of a convolution by its weights, from x and the gradient dy of its result."""

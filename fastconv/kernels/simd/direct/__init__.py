"""Direct convolution: register tiles over blocks of the output."""

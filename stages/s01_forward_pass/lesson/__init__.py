"""What this stage writes out by hand: byte-pair encoding, two models in NumPy, and tools that look inside a model."""

"""What this stage teaches by hand: byte-pair encoding, two models in NumPy, and tools that look inside."""

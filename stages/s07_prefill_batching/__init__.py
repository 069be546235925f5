"""Stage 07: several requests in one forward pass, padded to a rectangle."""

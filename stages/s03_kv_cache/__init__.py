"""Stage 03: the keys and values of the past are kept, so that each step computes one token only."""

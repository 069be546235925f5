"""Stage 01: text to tokens, one pass through the model, and a probability for every token that could come next."""

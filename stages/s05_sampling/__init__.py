"""Stage 05: draws with temperature, truncation, penalties and a seed, the same alone and in a batch."""

"""Stage 05: draws with temperature, truncation, penalties and a seed, the same in any company."""

"""What stage 09 teaches with: one attention layer taken out of the engine, its memory measured, and its figure."""

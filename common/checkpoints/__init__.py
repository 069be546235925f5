"""The shipped checkpoints: their weights, and in `training/` how they were made and how they are measured."""

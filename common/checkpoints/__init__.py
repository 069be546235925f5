"""The shipped checkpoints: their weights, how they were trained (`train`), and how they are measured (`evaluate`)."""

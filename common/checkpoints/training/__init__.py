"""How the shipped checkpoints were trained (`train`), and how they are measured (`evaluate`)."""

"""Stage 06: requests wait in a queue that is fair, seen and bounded, and a thread of its own works through it."""

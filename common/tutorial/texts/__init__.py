"""Articles, README and figures: filled and drawn from the code, the runs and the recorded results."""

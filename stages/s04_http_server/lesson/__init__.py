"""What the demo and the benchmark use to look at the server from outside. The engine is in `engine/`."""

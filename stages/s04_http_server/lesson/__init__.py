"""Tools of the demo and the benchmark that look at the server from outside. The engine is in `engine/`."""

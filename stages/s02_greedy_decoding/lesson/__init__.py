"""What the demo and the benchmark show around the engine: the black box next to it, its steps, loops and times."""

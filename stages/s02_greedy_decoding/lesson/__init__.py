"""What the demo and the benchmark show around the engine: the black box beside it, its steps, its loops, its times."""

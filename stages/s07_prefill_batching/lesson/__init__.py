"""What the demo and the benchmark of this stage show and measure; the engine keeps none of it."""

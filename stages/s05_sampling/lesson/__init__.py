"""What the demo and the benchmark show around the sampler: presets, its distribution, other ways to the same one, a figure."""

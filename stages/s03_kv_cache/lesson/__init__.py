"""What the demo and the benchmark show around the engine: timed runs, the cache drawn, its bytes, a figure."""

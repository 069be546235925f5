"""What the demo and the benchmark show around the engine: timed runs, a picture of the cache, its bytes, a figure."""

"""What the demo and the benchmark of this stage share. No part of the engine."""

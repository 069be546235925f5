"""The parts of `benchmarks.run`: what each stage bought, and where it stands against what else there is."""

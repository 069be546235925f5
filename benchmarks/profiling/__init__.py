"""The parts of `benchmarks.profile`: a stage at work (`drive`), its trace read (`kernels`), what is shown (`report`)."""

"""What measuring needs: clocks, the machine, the bandwidth bound, result files, plots, published shapes. `measure` has most in one import."""

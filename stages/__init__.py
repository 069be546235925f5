"""Twenty stages: the same inference engine, one idea further each time."""

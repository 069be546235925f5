"""A learner's tools: run, predict, diff, trace, try and check a stage; set up the course and examine the machine."""

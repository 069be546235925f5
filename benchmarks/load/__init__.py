"""The parts of the load generator `benchmarks.serving`.

Before a run: `arrivals` (when), `lengths` (how long), `prompts` (which tokens), `workloads` (all of it under a name).
The run: `driver` (keeps the times), `http` and `inprocess` (what is driven), `server` (starts a stage's server).
After it: `record` (one request's timeline), `metrics`, `check` (against solo runs, with
`reference`), `report` and `figures`. `options` is the command line.
"""

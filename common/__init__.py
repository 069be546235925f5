"""Everything the twenty stages share and none of them teaches.

An engine imports `models`, `loader`, `tokenizer`, `chat_template`, `stream_decoder`, `options`, `errors` and `memory`.
Tests and benchmarks add `equality` and `bench/`, command lines `terminal/`. `checkpoints/` has the models that ship,
`tutorial/` the tools behind `make`: for learners (`learner/`), for the chain of stages (`chain/`), for texts (`texts/`).
"""

"""The learner's and the maintainer's tools: run, test, diff, verify and the rest of `make help`."""

from .chain import ROOT, Stage, find_stage, load_stage, stages

__all__ = ["ROOT", "Stage", "find_stage", "load_stage", "stages"]

"""The learner's and the maintainer's tools: run, test, diff, verify and the rest of `make help`."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  with VENV=none any interpreter may arrive here
    sys.exit("error: Python 3.11 or newer is needed, this is {}".format(sys.version.split()[0]))  # noqa: UP032

from .chain import ROOT, Stage, find_stage, load_stage, neighbour, stages

__all__ = ["ROOT", "Stage", "find_stage", "load_stage", "neighbour", "stages"]

"""For all tests, of stages and of `common/`: offline, a limit to each, and one thread for each worker.

The environment is set before torch is imported anywhere, so it also reaches the processes that tests start.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs the network is broken
os.environ["MPLBACKEND"] = "Agg"
for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):  # what output looks like must not depend on who looks
    os.environ.pop(name, None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers with two threads each on two cores wait for each other most of the time.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCH_NUM_THREADS"):
        os.environ[name] = "1"

pytest_plugins = ["common.tutorial.learner.limits"]

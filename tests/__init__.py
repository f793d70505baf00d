"""Loaded before every test module, and so before numpy and torch.

Their threads spin while they wait. Where several processes share the processors, as the workers of
pytest-xdist do, that makes a test several times as dear.
"""

import os

from avcheck.machine.cores import wait_patiently

wait_patiently()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no test multiplies matrices of a size for two
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

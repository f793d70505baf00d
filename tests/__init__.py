"""Loaded before every test module, and so before torch."""

import os

from avcheck.cores import wait_patiently

# Threads of OpenMP spin while they wait: those of one test worker take the processors from the
# others, which makes a check several times as dear.
wait_patiently()
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

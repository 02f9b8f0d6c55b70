"""QUICK=1 in the environment: every benchmark runs once, on little, to show that it runs; its figures mean nothing."""

import os

QUICK = bool(os.environ.get("QUICK"))


def size(full, quick):
    """`quick` in the place of `full` where everything is to end early."""
    return quick if QUICK else full

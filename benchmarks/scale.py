"""How much is measured: a little (QUICK=1), what `make bench` has time for, or everything (FULL=1)."""

import os

QUICK = bool(os.environ.get("QUICK"))
FULL = bool(os.environ.get("FULL")) and not QUICK


def size(full, usual, quick):
    """The one of three sizes that this run asks for. The quick ones only show that everything runs."""
    if QUICK:
        return quick
    return full if FULL else usual


def laps(usual, full=None):
    """How many turns every contestant gets."""
    return size(full or usual, usual, 1)

"""How many threads a fill may use."""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any

_chosen: int | None = None
_default: int | None = None


def set_num_threads(n: int | None) -> None:
    """Let every later fill use at most `n` threads; None goes back to the default.

    The default is FASTINIT_NUM_THREADS if set, else the CPUs that this process may use (affinity and cgroup
    quota), at most OMP_NUM_THREADS if set. Values do not depend on it.
    """
    global _chosen
    _chosen = None if n is None else _check(n, "n")


def get_num_threads() -> int:
    """The number of threads that a large fill uses when it is not given `threads=`."""
    global _default
    if _chosen is not None:
        return _chosen
    if _default is None:
        _default = default_threads()
    return _default


def resolve_threads(threads: int | None) -> int:
    """`threads` checked, or the default."""
    return (_chosen or _default or get_num_threads()) if threads is None else _check(threads, "threads")


def _check(n: Any, what: str) -> int:
    if isinstance(n, bool):
        raise TypeError(f"{what} must be an integer, not a bool")
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {type(n).__name__}") from None
    if n < 1:
        raise ValueError(f"{what} must be at least 1, got {n}")
    return min(n, 1024)  # MAX_THREADS of csrc/parallel.c


def default_threads() -> int:
    """FASTINIT_NUM_THREADS, or the CPUs this process may use, at most OMP_NUM_THREADS."""
    own = os.environ.get("FASTINIT_NUM_THREADS", "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise ValueError(f"FASTINIT_NUM_THREADS must be an integer of at least 1, got {own!r}")
        return min(int(own), 1024)
    count = min(_affinity(), _cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list: one per nesting level
    if openmp.isdecimal() and int(openmp) >= 1:
        count = min(count, int(openmp))
    return int(min(count, 1024))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _cgroup_quota(membership: Path, root: Path) -> float:
    """CPUs that the cgroup of this process or one above it allows, rounded up; inf without a limit.

    Version 2: `cpu.max` holds "quota period" or "max period". Version 1: cpu.cfs_quota_us, -1 for none.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            base, names = root / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                words = " ".join((folder / name).read_text() for name in names).split()
                allowed, period = (math.inf if words[0] in ("max", "-1") else float(words[0])), float(words[1])
                quota = min(quota, max(1, math.ceil(allowed / period)) if allowed < math.inf else allowed)
            except (OSError, ValueError, IndexError):
                pass
            if folder == base:
                break
    return quota


def _forget_default() -> None:
    global _default
    _default = None


if hasattr(os, "register_at_fork"):  # a worker may be given other CPUs
    os.register_at_fork(after_in_child=_forget_default)

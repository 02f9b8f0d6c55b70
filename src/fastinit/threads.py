"""How many threads a fill may use."""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any

from . import _kernels
from ._kernels import SERIAL_BELOW

_MOST = 1024  # MAX_THREADS of csrc/team.c
_chosen: int | None = None
#: FASTINIT_NUM_THREADS, or what the default is limited to; read once in a process
_environment: tuple[int | None, int] | None = None


def set_num_threads(n: int | None) -> None:
    """Let every later fill use at most `n` threads; None goes back to the default.

    Parameters
    ----------
    n : int or None
        At least 1.

    Notes
    -----
    What is asked of fastinit itself counts as it is, in this order: ``threads=`` of a call, `set_num_threads`,
    ``FASTINIT_NUM_THREADS`` (read once). Without any of them a fill uses as many threads as there are CPUs that this
    process may use: those that its affinity leaves, or that OpenMP has bound its threads to (``OMP_PROC_BIND``,
    ``OMP_PLACES``, ``GOMP_CPU_AFFINITY``), and that its cgroup's quota pays for; at most ``OMP_NUM_THREADS`` if set,
    and at most what OpenMP would use in the calling thread, so that ``threadpoolctl.threadpool_limits``,
    ``omp_set_num_threads`` and ``torch.set_num_threads`` limit fills, too, where they reach the OpenMP library that
    fastinit is linked with. Affinity and OpenMP's limit are looked at anew for every fill.

    Small fills use one thread, and so do children forked from the process that imported fastinit. Values do not depend
    on any of it.
    """
    global _chosen
    _chosen = None if n is None else _check(n, "n")


def get_num_threads() -> int:
    """The number of threads that a large fill would use now, in this thread, without ``threads=``.

    Returns
    -------
    int
        What `set_num_threads` or ``FASTINIT_NUM_THREADS`` says, or else the default that `set_num_threads` describes.
    """
    global _environment
    if _chosen is not None:
        return _chosen
    if _environment is None:
        _environment = _read_environment()
    own, limit = _environment
    return own or _default(limit)


def check_threads(threads: Any) -> int:
    """`threads=` of a call."""
    return _check(threads, "threads")


def resolve_threads(threads: int | None) -> int:
    """`threads` checked, or the default."""
    return get_num_threads() if threads is None else _check(threads, "threads")


def threads_for(threads: int | None, elements: int) -> int:
    """`threads`, which have been checked; or the default for that many elements."""
    return default_for(elements) if threads is None else threads


def default_for(elements: int) -> int:
    """The default for that many elements: not looked up where it does not matter."""
    return 1 if elements < SERIAL_BELOW else get_num_threads()


def _check(n: Any, what: str) -> int:
    if isinstance(n, bool):
        raise TypeError(f"{what} must be an integer, not a bool")
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {type(n).__name__}") from None
    if n < 1:
        raise ValueError(f"{what} must be at least 1, got {n}")
    return min(n, _MOST)


def default_threads() -> int:
    """`get_num_threads` without `set_num_threads`, from the environment as it is now."""
    own, limit = _read_environment()
    return own or _default(limit)


def _default(limit: int) -> int:
    return min(_kernels.openmp_threads() or _affinity(), limit)


def _read_environment() -> tuple[int | None, int]:
    """FASTINIT_NUM_THREADS, None if not set; and the least of OMP_NUM_THREADS and the cgroup's quota."""
    own = os.environ.get("FASTINIT_NUM_THREADS", "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise ValueError(f"FASTINIT_NUM_THREADS must be an integer of at least 1, got {own!r}")
        return min(int(own), _MOST), _MOST
    limit = int(min(_cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), _MOST))
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list: one per nesting level
    if openmp.isdecimal() and int(openmp) >= 1:
        limit = min(limit, int(openmp))
    return None, limit


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


def _forget_environment() -> None:
    global _environment
    _environment = None


if hasattr(os, "register_at_fork"):  # a worker may be given another quota
    os.register_at_fork(after_in_child=_forget_environment)

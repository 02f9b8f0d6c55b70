"""Compiled kernels on disk, under the user's cache directory: safe against other writers and damaged entries."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path


def folder() -> Path | None:
    """Where compiled kernels are kept; None for a user without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "fastinit" / "cuda"


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """What `make` made for that key, now or earlier.

    An entry is the SHA-256 of the rest, then the rest, and gets its name in one step once it is complete: readers see
    all of it or none. One that does not fit its hash is made anew.
    """
    place = folder()
    if place is None:
        return make()
    entry = place / f"{hashlib.sha256(key.encode()).hexdigest()}.bin"
    found = _read(entry)
    if found is None:
        found = make()
        _write(entry, found)
    return found


def entries() -> list[Path]:
    """The complete and the damaged entries that are there."""
    place = folder()
    return sorted(place.glob("*.bin")) if place is not None and place.is_dir() else []


def _read(entry: Path) -> bytes | None:
    try:
        stored = entry.read_bytes()
    except OSError:
        return None
    digest, rest = stored[:32], stored[32:]
    return rest if rest and hashlib.sha256(rest).digest() == digest else None


def _write(entry: Path, made: bytes) -> None:
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=entry.stem, suffix=".part", dir=entry.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(made).digest() + made)
            os.replace(name, entry)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        warnings.warn(
            f"compiled kernels are not kept: {entry.parent} cannot be written to ({error.strerror})",
            RuntimeWarning,
            stacklevel=2,
        )

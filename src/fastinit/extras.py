"""Libraries that only one part of fastinit needs: imported when it is asked for, named when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(library: str, extra: str, needed_by: str = "") -> ModuleType:
    """That library; ImportError in one line that says what to install, if it is not there.

    `needed_by` is what the line says needs it: the module of the extra's name, unless given.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name in (library, library.partition(".")[0])):
            raise  # it is there, but broken
        needed_by = needed_by or f"fastinit.{extra}"
        raise ImportError(
            f"{needed_by} needs {library}: pip install 'fastinit-weights[{extra}]', or {library} itself",
            name=library,
        ) from None

"""What error messages share: words that are near to the one that was given."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be; None if none is near."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return close[0] if close else None


def near_match(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word nearest to `word`, or all of them."""
    known = list(known)
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close is not None else f"known: {', '.join(known)}"

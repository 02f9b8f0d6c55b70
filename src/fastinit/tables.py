"""Tables, numbers and JSON, for any output: plain text, no library needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .initializers import to_json


class Table(NamedTuple):
    """A head, rows of texts, and which columns are set to the right."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    right: tuple[int, ...]

    def lines(self) -> list[str]:
        """The table in plain text."""
        return plain_lines([self.head, *self.rows], self.right)


def plain_lines(rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    """Rows of texts, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        words = (text.rjust(n) if i in right else text.ljust(n) for i, (text, n) in enumerate(zip(row, widths)))
        lines.append("  ".join(words).rstrip())
    return lines


def number(value: float | None) -> str:
    """Four digits; "-" for what there is not."""
    return "-" if value is None else f"{value:.4g}"


def percent(share: float | None) -> str:
    """0.257 as "25.7 %"; shares that are nearly none or nearly all do not look as if they were."""
    if share is None or math.isnan(share):
        return number(share)
    text = f"{100 * share:.1f}"
    if (text == "0.0" and share > 0) or (text == "100.0" and share < 1):
        text = "<0.1" if share < 0.5 else ">99.9"
    return text.removesuffix(".0") + " %"


def jsonable(value: Any) -> Any:
    """Strict JSON: arrays as lists, what is not finite as text."""
    if isinstance(value, dict):
        return {key: jsonable(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, (list, tuple)):
        return [jsonable(inner) for inner in value]
    return to_json(value)


def sparkline(values: np.ndarray, width: int, low: float, high: float) -> str:
    """One character a value, at most `width`: its height between `low` and `high`; "x" for what is not finite.

    Where there are more values than characters, some are left out, not averaged.
    """
    chosen = values if len(values) <= width else values[np.linspace(0, len(values) - 1, width).round().astype(int)]
    steps = "▁▂▃▄▅▆▇█"
    span = high - low
    return "".join(
        "x" if not math.isfinite(v) else steps[round((len(steps) - 1) * (v - low) / span) if span > 0 else 0]
        for v in chosen.tolist()
    )

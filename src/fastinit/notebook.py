"""What notebooks show: HTML with small inline pictures (SVG), on light and dark pages, without scripts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .initializers import Initializer
from .questions import dtype_of
from .recipe import Part, Recipe
from .tables import Table, number

#: Values that a histogram is made of, at most; its bars.
SAMPLE, BARS = 1 << 16, 48
#: Elements of the largest orthogonal or sparse matrix that is made for a histogram, in half a second on one core.
LARGEST_MATRIX = 1 << 20
#: Width and height of a picture.
WIDTH, HEIGHT = 288, 120

#: Lines of a picture that stay apart on light and on dark pages, and in grey by their dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("", "6 3", "2 2", "8 3 2 3", "10 4", "1 3")

_CELL = "padding:1px 8px;text-align:{}"


# ---- recipes and initializers --------------------------------------------------------------------------------


def recipe_html(recipe: Part) -> str:
    """A recipe, or a part of one: what it is, and a histogram of some of its values."""
    described = recipe.recipe.to_dict()
    facts = {
        **_what(described),
        "shape": _shape_text(recipe.shape),
        "dtype": dtype_of(recipe),
        "size": f"{recipe.size:,} elements, {recipe.nbytes:,} bytes",
        **({} if recipe.seed is None else {"seed": str(recipe.seed), "name": repr(recipe.name)}),
        **_scale(recipe),
    }
    return page(type(recipe).__name__, _facts(facts) + _histogram_of(recipe), [])


def initializer_html(initializer: Initializer) -> str:
    """An initializer, which has no shape: its parameters, and what it makes of a weight of 65,536 elements."""
    facts = {key: str(value) for key, value in initializer.parameters.items()}
    example, complaint = None, ""
    for shape in ((256, 256), (4, 128, 128), (4, 4, 64, 64)):  # some ask for more axes than two
        try:
            example = Recipe(initializer, shape, seed=0)
            break
        except ValueError as error:
            complaint = complaint or str(error)
    if example is None:
        return page(initializer.name, _facts(facts) + _paragraph(complaint), [])
    facts |= {"for example": f"shape {_shape_text(example.shape)}, float32, seed 0", **_scale(example)}
    return page(initializer.name, _facts(facts) + _histogram_of(example), [])


def _what(described: dict[str, Any]) -> dict[str, str]:
    """The initializer with its parameters, or how the tensor is composed of others."""
    hidden = ("stream", "name", "seed", "shape", "dtype", "init")
    given = {key: value for key, value in described.items() if key not in hidden and value not in (None, [])}
    if "init" in described:
        rest = ", ".join(f"{key}={value}" for key, value in given.items())
        return {"initializer": f"{described['init']}({rest})"}
    (form, others), *more = given.items()
    rest = "".join(f", {key}={value}" for key, value in more if not isinstance(value, dict))
    return {"composed by": f"{form} of {len(others)}{rest}" if isinstance(others, list) else f"{form}{rest}"}


def _shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{n:,}" for n in shape) or "()"


def _scale(recipe: Part) -> dict[str, str]:
    return {"std": number(recipe.std), "bounds": "[" + ", ".join(map(number, recipe.bounds)) + "]"}


def _histogram_of(recipe: Part) -> str:
    described = recipe.recipe.to_dict()
    if recipe.size == 0:
        return _paragraph("no values")
    largest = max(_matrix_sizes(described), default=0)
    if largest > LARGEST_MATRIX:
        return _paragraph(f"no histogram: a matrix of {largest:,} elements would have to be made for it")
    values = recipe[spread_out(recipe.shape, SAMPLE)].ravel()
    if values.dtype == np.uint16:  # bfloat16 without ml_dtypes
        values = (values.astype(np.uint32) << 16).view(np.float32)
    which = "all values" if values.size == recipe.size else f"{values.size:,} values, evenly spread"
    return histogram(values.astype(np.float64), which)


def spread_out(shape: tuple[int, ...], most: int) -> tuple[slice, ...]:
    """An index of at most `most` elements, evenly spread: every so many along each axis."""
    counts = list(shape)
    while math.prod(counts) > most:
        longest = counts.index(max(counts))
        counts[longest] //= 2
    return tuple(slice(None, None, -(-n // max(count, 1)) or 1) for n, count in zip(shape, counts))


def _matrix_sizes(described: Any) -> Iterator[int]:
    """Elements of every orthogonal or sparse matrix that a recipe, by its dict, is made of."""
    if isinstance(described, dict):
        if described.get("init") in ("orthogonal", "sparse"):
            yield math.prod(described["shape"])
        elif described.get("init") == "delta_orthogonal":  # the matrix in the centre alone
            yield math.prod(described["shape"][axis] for axis in (*described["in_axis"], *described["out_axis"]))
        described = list(described.values())
    if isinstance(described, (list, tuple)):
        for inner in described:
            yield from _matrix_sizes(inner)


# ---- pictures ------------------------------------------------------------------------------------------------


def histogram(values: np.ndarray, caption: str) -> str:
    """Bars, the ends of the axis below them; what is not finite is only counted."""
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        caption += f", {values.size - finite.size:,} of them not finite"
    if not finite.size:
        return _paragraph(caption)
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return _paragraph(f"{caption}: {number(low)}")
    half = high / 2 - low / 2  # high - low may be beyond float64
    places = np.minimum((finite / 2 - low / 2) / half * BARS, BARS - 1).astype(int) if half else np.zeros(1, int)
    counts = np.bincount(places, minlength=BARS)
    bar = WIDTH / BARS
    bars = "".join(
        f'<rect x="{i * bar:.1f}" y="{HEIGHT - 16 - height:.1f}" width="{bar - 1:.1f}" height="{height:.1f}"/>'
        for i, height in enumerate((HEIGHT - 20) * counts / counts.max())
        if height
    )
    ends = (
        f'<text x="0" y="{HEIGHT - 3}">{number(low)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{number(high)}</text>'
    )
    base = f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT - 15.5}" y2="{HEIGHT - 15.5}" stroke="currentColor"/>'
    return _figure(f'<g fill-opacity="0.6">{bars}</g>{base}{ends}', caption)


def line_chart(title: str, curves: Sequence[tuple[np.ndarray, np.ndarray]], scale: str) -> str:
    """One line a curve; on a logarithmic scale what is 0, and on any what is not finite, leaves a gap."""
    heights = []
    for _, y in curves:
        with np.errstate(divide="ignore", invalid="ignore"):
            height = np.log10(y) if scale == "log" else np.asarray(y, float)
        heights.append(np.where(np.isfinite(height), height, np.nan))
    known = np.concatenate([height[~np.isnan(height)] for height in heights])
    if not known.size:
        return _figure(f'<text x="0" y="{HEIGHT // 2}">nothing to draw</text>', title)
    low, high = (0.0, 1.0) if scale == "percent" else (float(known.min()), float(known.max()))
    if high - low < 1e-3:  # a flat line belongs into the middle
        low, high = low - 0.5, high + 0.5
    left, right = (float(f([x[i] for x, _ in curves if len(x)])) for f, i in ((min, 0), (max, -1)))
    top, bottom, start = 6.0, HEIGHT - 18.0, 56.0
    drawn = []
    for k, ((x, _), height) in enumerate(zip(curves, heights)):
        across = start + (WIDTH - start - 4) * (np.asarray(x, float) - left) / max(right - left, 1)
        down = bottom - (bottom - top) * (height - low) / (high - low)
        for piece in _pieces(height):
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across[piece], down[piece]))
            drawn.append(f'<polyline points="{points}" fill="none" stroke-linecap="round" {_stroke(k)}/>')

    def level(height: float) -> str:
        if scale == "percent":
            return f"{100 * height:.0f} %"
        return f"{10.0**height:.1e}" if scale == "log" and abs(height) < 300 else f"{height:.3g}"

    axes = (
        f'<path d="M{start} {top}V{bottom}H{WIDTH - 4}" stroke="currentColor" fill="none" stroke-opacity="0.6"/>'
        f'<text x="{start - 5}" y="{top + 5}" text-anchor="end">{level(high)}</text>'
        f'<text x="{start - 5}" y="{bottom}" text-anchor="end">{level(low)}</text>'
        f'<text x="{start}" y="{HEIGHT - 4}">{left:g}</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT - 4}" text-anchor="end">{right:g}</text>'
    )
    return _figure(axes + "".join(drawn), title)


def _stroke(k: int) -> str:
    """How the line of curve `k` is drawn."""
    colour, dashes = COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)]
    return f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'


def _pieces(height: np.ndarray) -> list[slice]:
    """Runs between gaps; a single point is a run to itself, drawn as a dot by its round ends."""
    known = np.concatenate([[False], ~np.isnan(height), [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(known) == 1), np.flatnonzero(np.diff(known) == -1)
    return [slice(int(a), int(b)) for a, b in zip(starts, stops)]


def _figure(content: str, caption: str) -> str:
    return (
        f'<div style="display:inline-block;margin:4px 16px 4px 0;vertical-align:top"><div>{html.escape(caption)}</div>'
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" fill="currentColor" font-size="11" '
        f'style="font-family:sans-serif" role="img" aria-label="{html.escape(caption)}">{content}</svg></div>'
    )


# ---- text ----------------------------------------------------------------------------------------------------


def page(title: str, opening: str, blocks: Sequence[str]) -> str:
    """All of one object; colours are those of the page around it."""
    return f"<div><div><strong>{html.escape(title)}</strong></div>{opening}{''.join(blocks)}</div>"


def table_with_notes(label: str, table: Table, notes: Sequence[str]) -> str:
    """One result of several."""

    def row(tag: str, texts: tuple[str, ...]) -> str:
        sides = ("right" if i in table.right else "left" for i in range(len(texts)))
        cells = (f'<{tag} style="{_CELL.format(side)}">{html.escape(text)}</{tag}>' for text, side in zip(texts, sides))
        return f"<tr>{''.join(cells)}</tr>"

    rows = "".join(row("td", texts) for texts in table.rows)
    said = "".join(_paragraph(note) for note in notes)
    return (
        f'<div style="margin-top:8px"><strong>{html.escape(label)}</strong></div>'
        f'<table style="border-collapse:collapse">'
        f"<thead>{row('th', table.head)}</thead><tbody>{rows}</tbody></table>{said}"
    )


def legend(labels: Sequence[str]) -> str:
    """Which line of the pictures is whose."""
    items = (
        f'<span style="margin-right:16px"><svg width="28" height="8">'
        f'<line x1="1" x2="27" y1="4" y2="4" {_stroke(k)}/></svg> {html.escape(label)}</span>'
        for k, label in enumerate(labels)
    )
    return f"<div>{''.join(items)}</div>"


def _facts(facts: dict[str, str]) -> str:
    rows = (
        f'<tr><td style="{_CELL.format("left")}">{html.escape(key)}</td>'
        f'<td style="{_CELL.format("left")}">{html.escape(value)}</td></tr>'
        for key, value in facts.items()
    )
    return f'<table style="border-collapse:collapse"><tbody>{"".join(rows)}</tbody></table>'


def _paragraph(text: str) -> str:
    return f"<div>{html.escape(text)}</div>"

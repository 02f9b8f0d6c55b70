"""Pictures of comparisons, with matplotlib: the one file that needs it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .comparison import Panel

#: Colours (Okabe and Ito), dashes and markers: curves stay apart in grey, too.
STYLES: list[dict[str, Any]] = [
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": ":", "marker": "^"},
    {"color": "#CC79A7", "linestyle": "-.", "marker": "D"},
    {"color": "#E69F00", "linestyle": (0, (8, 2)), "marker": "v"},
    {"color": "#56B4E9", "linestyle": (0, (1, 1)), "marker": "P"},
]
MARKERS = 10
#: White edges keep markers of equal curves apart.
EDGES: dict[str, Any] = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
WHITE = "#ffffff"


def plot(title: str, panels: Sequence[Panel], path_or_axes: Any) -> Figure:
    """Draw `panels` into a new figure, a file, or given axes; see `Comparison.plot`."""
    require("matplotlib", "plot", "a picture")
    if path_or_axes is None:
        from matplotlib import pyplot

        figure = pyplot.figure(layout="constrained")
        return draw(figure, title, panels)
    if isinstance(path_or_axes, (str, os.PathLike)):
        from matplotlib.figure import Figure as NewFigure  # not pyplot's, which keeps every figure

        figure = draw(NewFigure(layout="constrained"), title, panels)
        save(figure, Path(path_or_axes))
        return figure
    axes = list(np.ravel(path_or_axes))
    if not axes or not all(hasattr(ax, "set_yscale") for ax in axes):
        raise TypeError(f"path_or_axes is a path, or Axes of matplotlib's, not {path_or_axes!r}")
    for panel, ax in zip(panels, axes):
        draw_panel(panel, ax)
    axes[0].legend()
    return axes[0].figure


def draw(figure: Figure, title: str, panels: Sequence[Panel]) -> Figure:
    """All panels in rows of two, one legend for all: on white, so that it reads on dark pages as well."""
    columns = min(2, len(panels)) if len(panels) != 3 else 3
    rows = -(-len(panels) // columns)
    legend_lines = len(panels[0].curves)
    figure.set_size_inches(4.2 * columns, 2.9 * rows + 0.4 + 0.22 * legend_lines)
    figure.set_facecolor(WHITE)
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel, ax in zip(panels, axes):
        draw_panel(panel, ax)
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.suptitle(title, fontsize=11)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", frameon=False)
    return figure


def draw_panel(panel: Panel, ax: Axes) -> None:
    """One panel: the curves, where they leave float32, and axes with their units."""
    ax.set_title(panel.title, fontsize=10)
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    ax.grid(alpha=0.3)
    ax.set_facecolor(WHITE)
    ends = []
    for number, curve in enumerate(panel.curves):
        y = np.asarray(curve.y, float) * (100 if panel.scale == "percent" else 1)
        drawn = np.where(np.isfinite(y) & ((y > 0) | (panel.scale != "log")), y, np.nan)
        style = STYLES[number % len(STYLES)]
        every = max(1, len(y) // MARKERS)
        width = min(1.5 + 0.7 * (len(panel.curves) - 1 - number), 3.5)  # what is drawn over shows beside it
        ax.plot(curve.x, drawn, label=curve.label, markevery=every, linewidth=width, **EDGES, **style)
        for here, text in ends_of(panel.x_label, curve.x, y, drawn):
            ax.plot(curve.x[here], drawn[here], marker="x", color=style["color"], markersize=9, markeredgewidth=2)
            ends.append(f"{curve.label}: {text}")
    if ends:
        from matplotlib.legend import Legend

        # a legend of nothing but a title: matplotlib finds the place where it hides least
        said = Legend(ax, [], [], title="\n".join(ends), title_fontsize=8, loc="best", frameon=False)
        ax.add_artist(said)
    if panel.scale == "log":
        ax.set_yscale("log")
    elif panel.scale == "percent":
        ax.set_ylim(-4, 104)
    else:
        ax.set_ylim(bottom=0)


def ends_of(what: str, x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> Iterator[tuple[int, str]]:
    """The points at which a curve stops, and what it is beyond: inf, nan, or on a logarithmic scale 0."""
    known = np.flatnonzero(~np.isnan(drawn))
    if not len(y):
        return
    if not len(known):
        yield 0, f"{y[0]:.0f} all along"
        return
    first, last = int(known[0]), int(known[-1])
    if first > 0:
        yield first, f"{y[first - 1]:.0f} below {what} {x[first]:g}"
    if last < len(y) - 1:
        yield last, f"{y[last + 1]:.0f} from {what} {x[last + 1]:g} on"


def kind_of(path: Path) -> str:
    """The kind of picture that the name asks for; ValueError if matplotlib knows none of that suffix."""
    require("matplotlib", "plot", "a picture")
    from matplotlib.backend_bases import FigureCanvasBase

    kind, kinds = path.suffix.removeprefix(".").lower(), FigureCanvasBase.get_supported_filetypes()
    if kind not in kinds:
        raise ValueError(f"{path}: a picture's name ends in one of {', '.join('.' + known for known in sorted(kinds))}")
    return kind


def save(figure: Figure, path: Path) -> None:
    """Write the file when all is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind_of(path), dpi=150)
    path.write_bytes(buffer.getvalue())

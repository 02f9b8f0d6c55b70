"""What `propagate` and `symmetry` share: initializers that are compared, and how the results are shown."""

from __future__ import annotations

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from . import notebook
from .initializers import Initializer, init, known_parameters
from .tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """A line of a picture, and of a terminal's sparklines."""

    label: str
    x: np.ndarray
    y: np.ndarray


class Panel(NamedTuple):
    """One pair of axes: a curve for each initializer."""

    title: str
    x_label: str
    y_label: str
    scale: str  # "log", "linear", or "percent" of shares between 0 and 1
    curves: list[Curve]


class Result(Protocol):
    """What became of one initializer."""

    @property
    def label(self) -> str:
        """Its name in tables and legends."""

    def to_dict(self) -> dict[str, Any]:
        """Everything that was found, strict JSON."""

    def table(self) -> Table:
        """The figures at some of the layers or steps."""

    def notes(self) -> list[str]:
        """What there is to say about it, a line each."""


R = TypeVar("R", bound=Result)


class Comparison(ABC, Generic[R]):
    """Results, one for each initializer: a sequence of them that prints as tables.

    Parameters
    ----------
    title : str
        What was done, in a line.
    settings : dict
        All arguments but the initializers, resolved.
    results : list
        In the order of the initializers.
    single : bool
        Whether one initializer was asked for, not a list.
    """

    def __init__(self, title: str, settings: dict[str, Any], results: list[R], single: bool) -> None:
        self.title = title
        self.settings = settings
        self.results = tuple(results)
        self._single = single

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> R:
        return self.results[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self.results)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: the settings and what was found, "inf" and "nan" as text.

        Of one initializer its lists stand beside the settings; of a list of them ``results`` has a dict for each.
        """
        results = [result.to_dict() for result in self.results]
        return {**self.settings, **results[0]} if self._single else {**self.settings, "results": results}

    @abstractmethod
    def panels(self) -> list[Panel]:
        """The pictures, as data."""

    def plot(self, path_or_axes: Any = None) -> Figure:
        """Draw it with matplotlib (the extra ``plot``).

        Parameters
        ----------
        path_or_axes : path, Axes or sequence of Axes, optional
            A file to write, its kind by the suffix (.png, .svg, .pdf), replaced if it is there; or axes to draw the
            first panels on, one each; by default a new figure of pyplot's.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib, in one line that says what to install.
        """
        from . import plotting

        return plotting.plot(self.title, self.panels(), path_or_axes)

    def __str__(self) -> str:
        blocks = [self.title]
        for result in self.results:
            blocks.append("\n".join([result.label, *result.table().lines(), *result.notes()]))
        return "\n\n".join(blocks)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        charts = [
            notebook.line_chart(panel.title, [(curve.x, curve.y) for curve in panel.curves], panel.scale)
            for panel in self.panels()
        ]
        labels = [result.label for result in self.results]
        blocks = [notebook.table_with_notes(result.label, result.table(), result.notes()) for result in self.results]
        return notebook.page(self.title, notebook.legend(labels) + "".join(charts), blocks)


# ---- arguments ---------------------------------------------------------------------------------------------


def initializers(given: Any) -> tuple[dict[str, Initializer], bool]:
    """Initializers by their labels, and whether one was given, not a list.

    `given` is a name, an `Initializer`, a list of these, or a mapping from labels of the caller's to these.
    """
    if isinstance(given, (str, Initializer)):
        one = init(given)
        return {label(one): one}, True
    if isinstance(given, Mapping):
        labelled = {str(key): init(value) for key, value in given.items()}
    elif isinstance(given, (list, tuple)):
        listed = [init(one) for one in given]
        labelled = {label(one): one for one in listed}
        if len(labelled) < len(listed):
            raise ValueError("an initializer is listed twice")
    else:
        raise TypeError(f"init is an initializer, a name or a list of them, not {type(given).__name__}")
    if not labelled:
        raise ValueError("no initializer is given")
    return labelled, False


def label(initializer: Initializer) -> str:
    """`he_normal(gain=2)`: the name, and the parameters that are not the defaults."""
    _, defaults = known_parameters(initializer.name)
    given = {key: value for key, value in initializer.parameters.items() if value != defaults[key]}
    texts = (f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in given.items())
    return initializer.name + (f"({', '.join(texts)})" if given else "")


def at_least_one(**numbers: Any) -> dict[str, int]:
    """The same as integers; TypeError or ValueError for what is none, or below 1."""
    checked = {}
    for key, value in numbers.items():
        if isinstance(value, bool):
            raise TypeError(f"{key} must be an integer, not a bool")
        try:
            checked[key] = operator.index(value)
        except TypeError:
            raise TypeError(f"{key} must be an integer, not {type(value).__name__}") from None
        if checked[key] < 1:
            raise ValueError(f"{key} must be at least 1, got {checked[key]}")
    return checked


def rows_to_show(first: int, last: int, most: int = 10) -> list[int]:
    """`first`, `last` and round numbers between them, in steps of 1, 2 or 5 times a power of ten."""
    steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step <= most)
    return sorted({first, *range(first - first % step + step, last, step), last})

"""`symmetry`: units that start alike stay alike, and a layer of them is one unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .activation_functions import Activation, Softmax, activation_function
from .comparison import Comparison, Curve, Panel, at_least_one, initializers, rows_to_show
from .initializers import Initializer
from .recipe import Recipe
from .stream import check_seed, fresh_seed
from .tables import Table, jsonable, number, percent

#: Points of the problem: a power of two, for `_sum`.
POINTS = 64
#: Standard deviation of the points around their corner, and of one step what the gradient is multiplied by.
SPREAD, LEARNING_RATE = 0.25, 0.5
#: Two units are the same where no weight of theirs differs by more than this share of the largest weight of all.
TOLERANCE = 1e-6


class Units(NamedTuple):
    """The network: a row for each hidden unit of its two incoming weights, its bias and its outgoing weight."""

    rows: np.ndarray  # (hidden, 4)
    offset: np.ndarray  # of the output


@dataclass(frozen=True, eq=False)
class Training:
    """What became of one initializer. Arrays have an element for each step, before the first one included.

    Attributes
    ----------
    label, initializer
        Its name in tables, and itself.
    loss : ndarray
        Mean cross-entropy, in nats: log 2 = 0.693 for a network that knows nothing.
    accuracy : ndarray
        Fraction of points on their side: those with output above 0 on that of class 1.
    distinct_units : ndarray of int
        Hidden units that are not the same as an earlier one, at least 1: a unit is its incoming weights, its bias
        and its outgoing weight, and two are the same where these differ by at most 1e-6 of the largest of all units.
    rank : ndarray of int
        Of the matrix that has a row for each unit, to the same tolerance: at most 4; 0 where all weights are 0, or one
        is not finite.
    distance : ndarray
        Root mean square distance of two units, as a share of the root mean square length: 0 where all are the same.
    """

    label: str
    initializer: Initializer
    loss: np.ndarray
    accuracy: np.ndarray
    distinct_units: np.ndarray
    rank: np.ndarray
    distance: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """All of it, strict JSON."""
        return jsonable({**vars(self), "initializer": self.initializer.to_dict()})

    def table(self) -> Table:
        """Some of the steps."""
        rows: list[tuple[str, ...]] = [
            (
                str(step),
                number(self.loss[step]),
                percent(self.accuracy[step]),
                str(self.distinct_units[step]),
                str(self.rank[step]),
                number(self.distance[step]),
            )
            for step in rows_to_show(0, len(self.loss) - 1)
        ]
        return Table(("step", "loss", "accuracy", "distinct units", "rank", "distance"), rows, right=tuple(range(6)))

    def notes(self) -> list[str]:
        """Whether the units ever parted."""
        if (self.distinct_units == 1).all():
            return ["one distinct unit from the first step to the last"]
        return []


class Symmetry(Comparison[Training]):
    """What ``symmetry`` found: a sequence of ``Training``, one for each initializer.

    It prints as a table of some of the steps; ``to_dict`` has all of them; ``plot`` draws them.
    """

    def panels(self) -> list[Panel]:
        """Loss, accuracy and distinct units by the step."""

        def panel(title: str, y_label: str, scale: str, key: str) -> Panel:
            arrays = {training.label: getattr(training, key) for training in self.results}
            curves = [Curve(name, np.arange(len(y)), y) for name, y in arrays.items()]
            return Panel(title, "step", y_label, scale, curves)

        return [
            panel("Loss", "cross-entropy (nats)", "linear", "loss"),
            panel("Accuracy", "share of points (%)", "percent", "accuracy"),
            panel("Distinct hidden units", "units", "linear", "distinct_units"),
        ]


def symmetry(
    init: Any, activation: str = "relu", *, hidden: int = 8, steps: int = 300, seed: int | None = 0
) -> Symmetry:
    """Train a network of two layers on a small problem, and count the hidden units that are distinct.

    Parameters
    ----------
    init : str, Initializer, list or dict of these
        Of both weights. Several are compared on the same problem; a dict gives them labels.
    activation : str, optional
        Of the hidden units: as for `propagate`, but softmax, which is no function of one unit.
    hidden : int, optional
        Hidden units.
    steps : int, optional
        Steps of training.
    seed : int, optional
        Of the weights; None draws one. The problem is always the same.

    Returns
    -------
    Symmetry

    Raises
    ------
    TypeError, ValueError
        Unknown names, sizes below 1, an initializer that does not go with the weights' shapes.

    Notes
    -----
    Two units with the same weights in and out compute the same number and get the same gradient: they stay the same
    whatever the data, and a layer of them can do no more than one unit. Zeros and every other constant make all units
    the same. Any draw tells them apart.

    The problem is exclusive or: 64 points about the corners (-1, -1), (-1, 1), (1, -1), (1, 1), with normal noise of
    std 0.25, of the recipe ``points`` and seed 0; class 1 where the signs of the corner differ. One unit
    that grows with its input gets at most three of the four corners right; GELU, SiLU and Mish fall before they rise,
    so that one of them may be enough. The weights are the recipes ``hidden.weight`` of shape (2, hidden) and
    ``output.weight`` of shape (hidden, 1); biases start at 0. Full-batch gradient descent on the cross-entropy, step
    0.5, no momentum, in float32.

    Units are summed in one order, and equal numbers go through one and the same call: units that are the same stay the
    same to the last bit, on every machine. ``exp`` and the like are NumPy's, so the last digits of the loss
    may differ from machine to machine.

    References
    ----------
    Rumelhart, Hinton and Williams, "Learning internal representations by error propagation", in Parallel Distributed
    Processing, 1986.

    Examples
    --------
    >>> import fastinit as fi
    >>> [int(training.distinct_units[-1]) for training in fi.symmetry(["zeros", "he_normal"])]
    [1, 8]
    """
    compared, single = initializers(init)
    function = activation_function(activation)
    if isinstance(function, Softmax):
        raise ValueError("symmetry looks at single units: softmax is no function of one")
    sizes = at_least_one(hidden=hidden, steps=steps)
    seed = fresh_seed() if seed is None else check_seed(seed)
    with np.errstate(all="ignore"):  # overflow is a result
        results = [_train(label, one, function, seed=seed, **sizes) for label, one in compared.items()]
    settings: dict[str, Any] = {
        "activation": function.name,
        **sizes,
        "seed": seed if seed < 1 << 53 else str(seed),
        "tolerance": TOLERANCE,
    }
    title = f"exclusive or, {sizes['hidden']} hidden units of {function.name}, {sizes['steps']} steps, seed {seed}"
    return Symmetry(title, settings, results, single)


def problem() -> tuple[np.ndarray, np.ndarray]:
    """The points, (2, 64), and their classes, 0 and 1: the same for every call."""
    corners = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]], np.float32)
    noise = Recipe("normal", (2, POINTS), seed=0, name="points", std=SPREAD)[...]
    classes = np.array([0, 1, 1, 0], np.float32)
    return np.tile(corners, POINTS // 4) + noise, np.tile(classes, POINTS // 4)


def _train(label: str, initializer: Initializer, function: Activation, hidden: int, steps: int, seed: int) -> Training:
    points, classes = problem()
    rows = np.zeros((hidden, 4), np.float32)
    rows[:, :2] = Recipe(initializer, (2, hidden), seed=seed, name="hidden.weight")[...].T
    rows[:, 3:] = Recipe(initializer, (hidden, 1), seed=seed, name="output.weight")[...]
    units = Units(rows, np.zeros(1, np.float32))
    found: dict[str, list[float]] = {"loss": [], "accuracy": [], "distinct_units": [], "rank": [], "distance": []}
    for _ in range(steps + 1):
        outputs, gradient = forward_and_backward(units, points, classes, function)
        found["loss"].append(cross_entropy(outputs, classes))
        found["accuracy"].append(float(((outputs > 0) == (classes > 0)).mean()))
        found["distinct_units"].append(distinct_units(units.rows))
        found["rank"].append(rank(units.rows))
        found["distance"].append(mean_distance(units.rows))
        units = Units(*(value - np.float32(LEARNING_RATE) * d for value, d in zip(units, gradient)))
    return Training(label, initializer, **{key: np.array(values) for key, values in found.items()})


def forward_and_backward(
    units: Units, points: np.ndarray, classes: np.ndarray, function: Activation
) -> tuple[np.ndarray, Units]:
    """The outputs for all points, and the gradient of the mean cross-entropy.

    Units are summed one after the other, points by `_sum`. NumPy may round exp at the end of an array other than in
    its middle, depending on the memory: so the activation of what is the same is worked out once.
    """
    outputs = np.full(points.shape[1:], units.offset[0])
    seen: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    active = []
    for first, second, bias, outgoing in units.rows:
        z = first * points[0] + second * points[1] + bias
        if z.tobytes() not in seen:
            seen[z.tobytes()] = function.value(z), function.slope(z)
        active.append(seen[z.tobytes()])
        outputs = outputs + outgoing * active[-1][0]
    error = (activation_function("sigmoid").value(outputs) - classes) / np.float32(len(classes))
    gradient = np.empty_like(units.rows)
    for row, outgoing, (a, slope) in zip(gradient, units.rows[:, 3], active):
        d = outgoing * error * slope
        row[:] = _sum(d * points[0]), _sum(d * points[1]), _sum(d), _sum(a * error)
    return outputs, Units(gradient, _sum(error).reshape(1))


def cross_entropy(outputs: np.ndarray, classes: np.ndarray) -> float:
    """Mean over the points, in nats, of outputs that are log odds of class 1."""
    wide = outputs.astype(np.float64)
    return float((np.maximum(wide, 0) - wide * classes + np.log1p(np.exp(-np.abs(wide)))).mean())


def _sum(values: np.ndarray) -> np.ndarray:
    """By halves: an order that is ours, not that of a library or a machine."""
    while len(values) > 1:
        values = values[: len(values) // 2] + values[len(values) // 2 :]
    return values[0]


# ---- how many there are --------------------------------------------------------------------------------------


def distinct_units(rows: np.ndarray) -> int:
    """Rows that differ from all counted before by more than `TOLERANCE` of the largest element; NaN equals NaN."""
    finite = np.abs(rows[np.isfinite(rows)])
    allowed = TOLERANCE * float(finite.max(initial=0))
    left, count = rows.astype(np.float64), 0
    while len(left):
        with np.errstate(invalid="ignore"):  # inf - inf
            near = np.abs(left - left[0]) <= allowed
        same = near | (left == left[0]) | (np.isnan(left) & np.isnan(left[0]))
        left = left[~same.all(axis=1)]
        count += 1
    return count


def rank(rows: np.ndarray) -> int:
    """How many singular values are above `TOLERANCE` of the largest; 0 where a weight is not finite."""
    if not np.isfinite(rows).all():
        return 0
    values = np.linalg.svd(rows.astype(np.float64), compute_uv=False)
    return int((values > TOLERANCE * values[0]).sum())


def mean_distance(rows: np.ndarray) -> float:
    """Root mean square distance of two rows, over the root mean square length of one."""
    wide = rows.astype(np.float64)
    apart = wide - wide.mean(axis=0)  # exactly 0 for equal rows: sums of float32 are exact in float64
    length, pairs = float((wide**2).sum()), max(len(wide) - 1, 1) / len(wide)
    return float(np.sqrt(2 * (apart**2).sum() / pairs / length)) if length else 0.0

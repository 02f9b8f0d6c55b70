"""What docs/why.md is made of: the experiments, the numbers that it quotes, and its pictures (`make pictures`).

The page says in comments which number is which, `0.574<!-- linear / torch's default / factor -->`: tests/test_why.py
compares them.
"""

from __future__ import annotations

import functools
import io
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastinit as fi
from fastinit.comparison import Curve, Panel
from fastinit.initializers.scales import TRUNCATED_STD
from fastinit.signals import growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
WIDTH, BATCH, DEPTH, DEEP = 256, 128, 50, 200
QUICK = {"width": 32, "batch": 16, "depth": 10}

he_std = math.sqrt(2 / WIDTH)
bound = 1 / math.sqrt(WIDTH)
torch_default = fi.init("uniform", low=-bound, high=bound)
small, wide = fi.init("normal", std=0.01), fi.init("normal", std=0.2)
SMALL, WIDE, TORCH = "normal, std 0.01", "normal, std 0.2", "torch's default"

#: The arguments of `propagate`, but for the sizes that all share.
EXPERIMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tanh": ({SMALL: small, WIDE: wide, "glorot_uniform": "glorot_uniform"}, {"activation": "tanh"}),
    "relu": (
        {SMALL: small, WIDE: wide, TORCH: torch_default, "glorot_uniform": "glorot_uniform", "he_normal": "he_normal"},
        {"activation": "relu"},
    ),
    "leaky": (
        {"he_normal": "he_normal", "with the slope": fi.init("he_normal", negative_slope=0.25)},
        {"activation": "leaky_relu", "negative_slope": 0.25},
    ),
    "selu": ({"he_normal": "he_normal", "lecun_normal": "lecun_normal"}, {"activation": "selu"}),
    "sigmoid": ({"glorot_uniform": "glorot_uniform"}, {"activation": "sigmoid"}),
    "linear": ({TORCH: torch_default, "lecun_normal": "lecun_normal"}, {"activation": "linear"}),
    "deep_linear": (
        {"lecun_normal": "lecun_normal", "orthogonal": "orthogonal"},
        {"activation": "linear", "depth": DEEP},
    ),
    "deep_tanh": (
        {
            "glorot_uniform": "glorot_uniform",
            "orthogonal": "orthogonal",
            "orthogonal, gain 1.05": fi.init("orthogonal", gain=1.05),
            "orthogonal, gain 5/3": fi.init("orthogonal", gain=fi.calculate_gain("tanh")),
        },
        {"activation": "tanh", "depth": DEEP},
    ),
    "rnn": (
        {"lecun_normal": "lecun_normal", "orthogonal": "orthogonal"},
        {"activation": "linear", "network": "rnn", "depth": DEEP},
    ),
    "cnn": (
        {"lecun_normal": "lecun_normal", "delta_orthogonal": "delta_orthogonal"},
        {"activation": "linear", "network": "cnn", "depth": DEEP},
    ),
    "residual": ({"branches as they are": "he_normal"}, {"network": "residual"}),
    "residual_scaled": (
        {"branches / sqrt(depth)": "he_normal"},
        {"network": "residual", "branch_scale": "1/sqrt(depth)"},
    ),
    "mistakes": (
        {
            "fan of 1/8 of the rows": fi.init("he_normal", fan_in=WIDTH // 8),
            "fan of 1/2 of the rows": fi.init("he_normal", fan_in=WIDTH // 2),
            "fan of the whole": "he_normal",
            "truncated, corrected": fi.init("he_normal", truncated=True),
            "truncated, not corrected": fi.init("truncated_normal", std=he_std),
        },
        {"activation": "relu"},
    ),
}  # fmt: skip


@functools.cache
def propagation(name: str) -> fi.Propagation:
    """One of the experiments."""
    inits, settings = EXPERIMENTS[name]
    sizes = {"width": WIDTH, "batch": BATCH, "depth": DEPTH}
    return fi.propagate(inits, **{**sizes, **settings, **(QUICK if quick() else {})})


@functools.cache
def symmetry() -> fi.Symmetry:
    """Zeros, a constant and a draw on exclusive or."""
    return fi.symmetry({"zeros": "zeros", "constant 0.5": fi.init("constant", value=0.5), "he_normal": "he_normal"})


@functools.cache
def embedding(dtype: str) -> np.ndarray:
    """A million weights of std 0.02."""
    return fi.normal(1 << 20, std=0.02, seed=0, name="embedding", dtype=dtype)


def quick() -> bool:
    """Whether to show only that the pictures can be drawn."""
    return bool(os.environ.get("QUICK"))


# ---- numbers -------------------------------------------------------------------------------------------------


def numbers() -> dict[str, float]:
    """Every number of the page by its key."""
    found: dict[str, float] = {}
    for training, key in zip(symmetry(), ("zeros", "constant", "he")):
        found[f"symmetry / {key} / loss"] = training.loss[-1]
        found[f"symmetry / {key} / accuracy"] = 100 * training.accuracy[-1]
        found[f"symmetry / {key} / units"] = training.distinct_units[-1]
    for name in EXPERIMENTS:
        for signal in propagation(name):
            key = f"{name} / {signal.label}"
            found[f"{key} / input"] = signal.input_std
            found[f"{key} / tenth"] = signal.activation_std[9]
            found[f"{key} / last"] = signal.activation_std[-1]
            found[f"{key} / factor"] = growth(signal.activation_std) or 0.0
            found[f"{key} / gradient"] = signal.input_gradient_std
            found[f"{key} / gradient_factor"] = growth(signal.gradient_std[::-1]) or 0.0
            if signal.saturated is not None:
                found[f"{key} / saturated"] = 100 * signal.saturated[-1]
            if (signal.activation_std == 0).any():
                found[f"{key} / zero"] = 1 + int(np.argmax(signal.activation_std == 0))
            if signal.singular_values is not None:
                values = signal.singular_values
                found[f"{key} / largest"] = values.values[0]
                found[f"{key} / from_one"] = float(np.abs(values.values - 1).max())
                found[f"{key} / below"] = values.below_precision
    found["weights / he"], found["weights / lecun"] = he_std, bound
    found["truncated / std"] = TRUNCATED_STD
    whole, shard = (fi.recipe("he_normal", (rows, WIDTH)) for rows in (WIDTH, WIDTH // 8))
    found["shard / ratio"] = shard.std / whole.std
    for dtype in ("float32", "float16", "bfloat16"):
        values = embedding(dtype)
        found[f"{dtype} / std"] = values.astype(np.float64).std()
        found[f"{dtype} / distinct"] = len(np.unique(values.astype(np.float32)))
        found[f"{dtype} / spacing"] = spacing(dtype)
        found[f"{dtype} / unmoved"] = 100 * unmoved(values, UPDATE)
    return found


#: What one step of training may add to a weight.
UPDATE = 1e-5


def spacing(dtype: str, weight: float = 0.02) -> float:
    """From the number of that dtype nearest to `weight` to the next one."""
    near = np.array([weight]).astype(embedding(dtype).dtype)
    bits = near.view(np.uint16 if near.itemsize == 2 else np.uint32) + 1
    return float(bits.view(near.dtype)[0]) - float(near[0])


def unmoved(values: np.ndarray, update: float) -> float:
    """The share of weights that are the same after `update` is added."""
    return float((values + values.dtype.type(update) == values).mean())


# ---- pictures ------------------------------------------------------------------------------------------------

ACTIVATIONS, GRADIENT, JACOBIAN = "Activations, forwards", "Gradient, backwards", "Jacobian, above float32's precision"


def panels(name: str, *titles: str) -> tuple[str, list[Panel]]:
    """An experiment's title, and those of its panels."""
    known = {panel.title: panel for panel in propagation(name).panels()}
    return propagation(name).title, [known[title] for title in titles]


def residual() -> tuple[str, list[Panel]]:
    """Both kinds of branches on the same axes."""
    title, first = panels("residual", ACTIVATIONS, GRADIENT)
    title = title.replace("branches x 1", "he_normal")
    _, second = panels("residual_scaled", ACTIVATIONS, GRADIENT)
    return title, [a._replace(curves=a.curves + b.curves) for a, b in zip(first, second)]


def bfloat16() -> tuple[str, list[Panel]]:
    """How far apart neighbouring weights are, and how many an update leaves as they are."""
    apart, left = [], []
    for dtype in ("float32", "float16", "bfloat16"):
        values = embedding(dtype)
        weights = np.linspace(2.0**-9, 0.08, 200)
        apart.append(Curve(dtype, weights, np.array([spacing(dtype, weight) for weight in weights])))
        updates = np.geomspace(1e-9, 1e-2, 29)
        left.append(Curve(dtype, np.log10(updates), np.array([unmoved(values, update) for update in updates])))
    return "normal, std 0.02, 2^20 draws, seed 0", [
        Panel("Neighbours", "weight", "distance to the next value", "log", apart),
        Panel(
            "Weights that an update leaves as they are", "log10 of the update", "share of weights (%)", "percent", left
        ),
    ]


#: Files, and what is in each row of them.
PICTURE_ROWS: dict[str, list[Any]] = {
    "symmetry.svg": [lambda: (symmetry().title, symmetry().panels())],
    "tanh.svg": [lambda: panels("tanh", ACTIVATIONS, GRADIENT, "Saturated activations")],
    "relu.svg": [lambda: panels("relu", ACTIVATIONS, GRADIENT)],
    "leaky_relu_and_selu.svg": [
        lambda: panels("leaky", ACTIVATIONS, GRADIENT),
        lambda: panels("selu", ACTIVATIONS, GRADIENT),
    ],
    "linear.svg": [
        lambda: panels("linear", ACTIVATIONS, GRADIENT),
        lambda: panels("deep_linear", ACTIVATIONS, JACOBIAN),
    ],
    "deep_tanh.svg": [lambda: panels("deep_tanh", ACTIVATIONS, GRADIENT)],
    "rnn_and_cnn.svg": [
        lambda: panels("rnn", ACTIVATIONS, JACOBIAN),
        lambda: panels("cnn", ACTIVATIONS, JACOBIAN),
    ],
    "residual.svg": [residual],
    "mistakes.svg": [lambda: panels("mistakes", ACTIVATIONS, GRADIENT)],
    "bfloat16.svg": [bfloat16],
}  # fmt: skip


#: Panels side by side: more would be too small on a phone.
COLUMNS = 2
#: Coordinates of an SVG with more digits than anybody sees, and the spaces that lines begin with.
COORDINATES = re.compile(r'(?<=[ "])\d+\.\d{3,}(?=[ "\n])|(?<=translate\()\d+\.\d{3,}|\d+\.\d{3,}(?=\) scale)')
INDENT = re.compile(r"^ +", re.MULTILINE)


def draw(rows: list[tuple[str, list[Panel]]], path: Path) -> None:
    """A title, panels and a legend for each of `rows`, on white: the same bytes from the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    from fastinit.plotting import WHITE, draw_panel

    with matplotlib.rc_context({"svg.hashsalt": "fastinit", "font.size": 9}):
        lines = [-(-len(shown) // COLUMNS) for _, shown in rows]
        figure = Figure((3.9 * COLUMNS, 0.8 * len(rows) + 2.8 * sum(lines)), layout="constrained", facecolor=WHITE)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=[0.8 + 2.8 * line for line in lines])
        for part, line, (title, shown) in zip(np.ravel(parts), lines, rows):
            part.set_facecolor(WHITE)
            part.suptitle(title, fontsize=10)
            axes = np.ravel(part.subplots(line, COLUMNS, squeeze=False))
            for panel, ax in zip(shown, axes):
                draw_panel(panel, ax)
                if panel.scale == "log":
                    at_least_two_decades(ax)
            handles, labels = axes[0].get_legend_handles_labels()
            if len(axes) > len(shown):  # room for the legend
                axes[-1].axis("off")
                axes[-1].legend(handles, labels, loc="center", frameon=False, handlelength=3.5)
            else:
                part.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=3.5)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    short = COORDINATES.sub(lambda found: f"{float(found[0]):.2f}", INDENT.sub("", text.getvalue()))
    path.write_text(short, encoding="utf-8")


def at_least_two_decades(ax: Axes) -> None:
    """So that what hardly moves looks like it; powers of ten alone, which makes the file smaller."""
    from matplotlib.ticker import NullLocator

    low, high = (math.log10(end) for end in ax.get_ylim())
    more = max(0.0, 2.2 - (high - low)) / 2
    ax.set_ylim(10 ** (low - more), 10 ** (high + more))
    ax.yaxis.set_minor_locator(NullLocator())


def main() -> None:
    """All pictures; with QUICK small ones, which replace nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if quick() else PICTURES
        folder.mkdir(exist_ok=True)
        for name, rows in PICTURE_ROWS.items():
            draw([row() for row in rows], folder / name)
            size = (folder / name).stat().st_size
            print(f"{folder / name}  {size / 1024:.0f} KiB", file=sys.stderr)


if __name__ == "__main__":
    main()

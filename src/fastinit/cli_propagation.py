"""The commands `propagate` and `symmetry`: what initialisation does to a network, seen."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from .activation_functions import ACTIVATIONS, ALIASES
from .checkpoint.opening import InTheWay
from .comparison import Comparison, Panel
from .initializers import Initializer, for_activation, known_parameters
from .networks import NETWORKS
from .propagation import BY_DEPTH, propagate
from .symmetry_breaking import symmetry
from .tables import sparkline
from .terminal import cut_short, print_json, print_sparklines, print_table

#: Columns of the longest sparkline, and what is left for the labels before them.
SPARKLINE, LABELS = 40, 26

SYNTAX = """\b
An initializer is written as
  he_normal                        its name
  constant:0.5                     its value, std or gain
  uniform:low=-0.1,high=0.1        its parameters by name
"""

_activation = click.Choice([*ACTIVATIONS, *ALIASES])
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _InitializerType(click.ParamType):
    """`name`, `name:value` or `name:key=value,key=value`."""

    name = "initializer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Initializer:
        if isinstance(value, Initializer):
            return value
        try:
            return parse_initializer(value)
        except (TypeError, ValueError) as error:
            self.fail(str(error), param, ctx)


def parse_initializer(text: str) -> Initializer:
    """The initializer that a command line means; ValueError or TypeError for what is none."""
    name, colon, rest = text.partition(":")
    canonical, known = known_parameters(name)
    if not colon:
        return Initializer(canonical)
    parameters = {}
    for item in rest.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            key, value = next((key for key in ("value", "std", "gain") if key in known), ""), item
        if not key.strip() or not value.strip():
            raise ValueError(f"{text!r}: parameters are written as {canonical}:key=value,key=value")
        if key.strip() in parameters:
            raise ValueError(f"{text!r}: {key.strip()} is given twice")
        parameters[key.strip()] = _parse_value(value.strip())
    return Initializer(canonical, **parameters)


def _parse_value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _recommended(activation: str) -> Initializer:
    try:
        return for_activation(ALIASES.get(activation, activation))
    except ValueError:
        raise click.UsageError(f"there is no initializer that {activation} is known to ask for: give --init") from None


def _branch_scale(text: str) -> float | str:
    try:
        return text if text == BY_DEPTH else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor {BY_DEPTH}", param_hint="--branch-scale") from None


def _common(command: _Command) -> _Command:
    """Options of both commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("--force", is_flag=True, help="Replace PICTURE if it is there."),
        click.option(
            "-o",
            "--output",
            "picture",
            metavar="PICTURE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Draw it, too: a .png, .svg or .pdf. Needs matplotlib.",
        ),
        click.option("--seed", type=int, default=0, show_default=True),
    ):
        command = option(command)
    return command


@click.command("propagate", epilog=SYNTAX, short_help="Push a batch through a random network, and a gradient back.")
@click.argument("activation", type=_activation, metavar="[ACTIVATION]", default="relu")
@click.option(
    "--init",
    "initializers",
    type=_InitializerType(),
    multiple=True,
    help="Of the weights; may be repeated. Default: what goes with the activation.",
)
@click.option("--network", type=click.Choice(NETWORKS), default="mlp", show_default=True)
@click.option("--depth", type=click.IntRange(min=1), default=50, show_default=True, help="Layers.")
@click.option("--width", type=click.IntRange(min=1), default=512, show_default=True, help="Units a layer.")
@click.option("--batch", type=click.IntRange(min=1), default=256, show_default=True, help="Inputs.")
@click.option("--bias", type=_InitializerType(), help="Of the biases.  [default: none]")
@click.option("--gain", type=float, help="Multiplies the initializers' own.")
@click.option("--branch-scale", default="1", show_default=True, help=f"Of a residual network: a number or {BY_DEPTH}.")
@click.option("--negative-slope", type=float, help="Of leaky_relu and prelu.")
@_common
def propagate_command(
    activation: str,
    initializers: tuple[Initializer, ...],
    branch_scale: str,
    picture: Path | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Push a batch through a random network and a gradient back, and show every layer.

    ACTIVATION is relu (unless given), leaky_relu, prelu, elu, selu, gelu, silu, mish, softplus, tanh, sigmoid, softmax
    or linear.
    """
    _check_picture(picture, force)
    compared = initializers or (_recommended(activation),)
    given: Any = compared[0] if len(compared) == 1 else list(compared)
    _show(propagate(given, activation, branch_scale=_branch_scale(branch_scale), **settings), picture, quiet, as_json)


@click.command("symmetry", epilog=SYNTAX, short_help="Train a small network and count its distinct hidden units.")
@click.argument("initializers", type=_InitializerType(), nargs=-1, required=True, metavar="INITIALIZER...")
@click.option("--activation", type=_activation, metavar="NAME", default="relu", show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=8, show_default=True, help="Hidden units.")
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Steps of training.")
@_common
def symmetry_command(
    initializers: tuple[Initializer, ...],
    activation: str,
    hidden: int,
    steps: int,
    seed: int,
    picture: Path | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a small network and count its hidden units that are distinct: a constant keeps one for ever."""
    _check_picture(picture, force)
    given: Any = initializers[0] if len(initializers) == 1 else list(initializers)
    _show(symmetry(given, activation, hidden=hidden, steps=steps, seed=seed), picture, quiet, as_json)


# ---- what is shown -------------------------------------------------------------------------------------------


def _check_picture(picture: Path | None, force: bool) -> None:
    """What would stop the picture at the end is said at the start."""
    if picture is None:
        return
    from . import plotting

    plotting.kind_of(picture)
    if not picture.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(picture.parent))
    if picture.exists() and not force:
        raise InTheWay(picture)


def _show(found: Comparison[Any], picture: Path | None, quiet: bool, as_json: bool) -> None:
    if picture is not None:
        found.plot(picture)
    with cut_short():
        if as_json:
            print_json(found.to_dict())
        elif not quiet:
            click.echo(found.title)
            for result in found:
                click.echo(f"\n{result.label}")
                print_table(*result.table())
                for note in result.notes():
                    click.echo(note)
            if sys.stdout.isatty():
                click.echo()
                _print_sparklines(found)
            if picture is not None:
                click.echo(f"\n{picture} is drawn")


def _print_sparklines(found: Comparison[Any]) -> None:
    panels = found.panels()[:3]
    width = max(min(SPARKLINE, (shutil.get_terminal_size().columns - LABELS) // len(panels) - 2), 8)
    columns = {panel.title: _sparklines(panel, width) for panel in panels}
    print_sparklines(columns, [result.label for result in found])


def _sparklines(panel: Panel, width: int) -> list[str]:
    """One height for all curves of a panel: at least a decade on a logarithmic one, where 0 is as low as can be."""
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = [np.log10(curve.y) if panel.scale == "log" else np.asarray(curve.y, float) for curve in panel.curves]
    known = np.concatenate(heights)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    low, high = (min(low, high - 1), high) if panel.scale == "log" else (0.0, max(high, 1.0))
    return [sparkline(np.where(np.isneginf(height), low, height), width, low, high) for height in heights]

"""Pictures with matplotlib: what is on them, files, axes of the caller's, and what is said without it."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend

import fastinit as fi

SMALL = {"depth": 12, "width": 32, "batch": 16}


@pytest.fixture(autouse=True)
def without_a_screen():
    matplotlib.use("Agg")


@pytest.fixture(scope="module")
def found():
    inits = {"wide": fi.init("normal", std=1e4), "he": "he_normal", "zeros": "zeros"}
    return fi.propagate(inits, **SMALL)


def labelled(figure):
    return {ax.get_title(): (ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes}


def said_on(ax):
    """Where curves stop, and why."""
    (said,) = (artist for artist in ax.artists if isinstance(artist, Legend))
    return said.get_title().get_text().splitlines()


def test_a_figure_with_units_and_a_legend(found):
    from matplotlib import pyplot

    figure = found.plot()
    assert labelled(figure) == {
        "Activations, forwards": ("layer", "std of activations"),
        "Gradient, backwards": ("layer", "std of gradient"),
        "Dead units": ("layer", "share of units (%)"),
        "Jacobian, above float32's precision": ("number, the largest first", "singular value"),
    }
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["wide", "he", "zeros"]
    assert pyplot.get_fignums()
    pyplot.close(figure)


@pytest.mark.parametrize(
    ("network", "counted"), [("mlp", "layer"), ("residual", "layer"), ("cnn", "layer"), ("rnn", "step")]
)
def test_an_rnn_counts_steps(network, counted):
    """On the axes, where a curve ends, in the table and in the notes."""
    found = fi.propagate(fi.init("normal", std=1e12), "linear", network=network, **SMALL)
    other = {"layer": "step", "step": "layer"}[counted]
    assert [panel.x_label for panel in found.panels()][:2] == [counted, counted]
    ax = found.plot(Figure().subplots()).axes[0]
    assert said_on(ax)[0].startswith(f"normal(std=1e+12): inf from {counted} ")
    lines = found[0].table().lines() + found[0].notes()
    assert lines[0].split()[0] == counted
    assert any(f"inf at {counted} " in line for line in lines)
    assert any(line.startswith(f"std per {counted}:") for line in lines)
    assert not any(other in line for line in lines)
    assert "counted" not in found.to_dict()


def test_curves_are_the_figures_found(found):
    ax = found.plot(Figure().subplots()).axes[0]
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    he = lines["he"]
    assert np.array_equal(he.get_xdata(), np.arange(1, 13))
    assert np.array_equal(he.get_ydata(), found[1].activation_std)
    styles = {(line.get_color(), str(line.get_linestyle()), line.get_marker()) for line in lines.values()}
    assert len({style[0] for style in styles}) == len({style[1] for style in styles}) == 3
    overflow = 1 + int(np.argmax(np.isinf(found[0].activation_std)))
    assert said_on(ax) == [f"wide: inf from layer {overflow} on", "zeros: 0 all along"]
    gradient, _, jacobian = found.plot(Figure().subplots(1, 4)).axes[1:]
    assert said_on(gradient) == ["wide: nan below layer 12", "zeros: 0 below layer 12"]
    assert said_on(jacobian) == ["zeros: 0 all along"]
    (drawn,) = (line.get_ydata() for line in jacobian.lines if line.get_label() == "he")
    values = found[1].singular_values
    assert values.below_precision > 0
    assert np.array_equal(drawn, values.values[: 32 - values.below_precision])
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["wide", "he", "zeros"]


def test_axes_of_the_callers(found):
    figure = Figure()
    assert found.plot(figure.subplots(1, 2)) is figure
    assert list(labelled(figure)) == ["Activations, forwards", "Gradient, backwards"]


def test_saturation_and_wide_layers():
    figure = fi.propagate("glorot_uniform", "tanh", depth=2, width=520, batch=2).plot(Figure().subplots(1, 4))
    assert [title for title in labelled(figure) if title] == ["Activations, forwards", "Gradient, backwards", "Saturated activations"]  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files(found, tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    path.write_text("old")
    for given in (path, str(path)):
        assert isinstance(found.plot(given), Figure)
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF"}[suffix]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nothing_is_clipped(found, tmp_path):
    """The outermost pixels are the page's white."""
    found.plot(tmp_path / "x.png")
    image = matplotlib.image.imread(tmp_path / "x.png")
    assert (image[..., 3] == 1).all()
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge[..., :3] == 1).all()
    assert (image[..., :3] < 0.5).any()


def test_symmetry():
    found = fi.symmetry(["zeros", "he_normal"], steps=30)
    figure = found.plot(Figure().subplots(1, 3))
    assert labelled(figure) == {
        "Loss": ("step", "cross-entropy (nats)"),
        "Accuracy": ("step", "share of points (%)"),
        "Distinct hidden units": ("step", "units"),
    }
    assert figure.axes[1].lines[1].get_ydata() == pytest.approx(100 * found[1].accuracy)
    assert figure.axes[2].lines[0].get_ydata().tolist() == [1] * 31


@pytest.mark.parametrize("given", [3, [], [None]])
def test_what_is_neither_a_path_nor_axes(found, given):
    with pytest.raises(TypeError, match="path_or_axes is a path, or Axes"):
        found.plot(given)


def test_a_suffix_that_is_none(found, tmp_path):
    for name in ("x.foo", "x"):
        with pytest.raises(ValueError, match=r"ends in one of .*\.png") as caught:
            found.plot(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path):
    code = (
        "import sys, importlib.abc\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'matplotlib':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import fastinit as fi\n"
        "found = fi.symmetry('zeros', steps=1)\n"
        "for where in (None, 'x.png'):\n"
        "    try:\n"
        "        found.plot(where)\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    line = "a picture needs matplotlib: pip install 'fastinit-weights[plot]', or matplotlib itself"
    assert run.stdout.splitlines() == [line, line]

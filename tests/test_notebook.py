"""What notebooks show of recipes and initializers: true figures, few values, no huge matrix, no foreign markup."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import fastinit as fi
from fastinit import notebook
from fastinit.initializers.parameters import PARAMETERS

NEEDED = {
    "constant": {"value": 0.5},
    "sparse": {"sparsity": 0.5},
    "variance_scaling": {"scale": 2.0, "mode": "fan_in", "distribution": "uniform"},
}


def parsed(text):
    """Well-formed, self-contained, without scripts."""
    assert "http" not in text
    assert "<script" not in text
    return ElementTree.fromstring(text)


def facts(text):
    cells = [cell.text for cell in parsed(text).iter("td")]
    return dict(zip(cells[::2], cells[1::2]))


def heights(text):
    return [float(bar.get("height")) for bar in parsed(text).iter("rect")]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_initializer(name):
    initializer = fi.init(name, **NEEDED.get(name, {}))
    text = initializer._repr_html_()
    shown = facts(text)
    assert set(initializer.parameters) <= set(shown)
    shape = (4, 128, 128) if name in ("delta_orthogonal", "dirac") else (256, 256)
    recipe = fi.recipe(initializer, shape, seed=0)
    assert shown["std"] == f"{recipe.std:.4g}"
    assert shown["for example"].startswith("shape " + " x ".join(map(str, shape)))
    assert bool(heights(text)) == (name not in ("constant", "zeros", "ones"))


def test_an_initializer_that_fits_no_example_says_why():
    text = fi.init("he_normal", in_axis=(7,))._repr_html_()
    assert "in_axis=7: shape (256, 256) has 2 axes" in text
    assert not heights(text)


def test_a_recipe():
    recipe = fi.recipe("he_normal", (300, 500), seed=1 << 70, name="<script>&'\"", dtype="float16")
    shown = facts(recipe._repr_html_())
    assert shown["initializer"] == "he_normal(in_axis=[0], out_axis=[1], gain=1.0, truncated=False, negative_slope=0.0)"
    assert (shown["shape"], shown["dtype"], shown["size"]) == (
        "300 x 500",
        "float16",
        "150,000 elements, 300,000 bytes",
    )
    assert (shown["seed"], shown["name"]) == (str(1 << 70), repr("<script>&'\""))
    assert shown["std"] == f"{recipe.std:.4g}"
    assert shown["bounds"] == "[{:.4g}, {:.4g}]".format(*recipe.bounds)
    assert "37,500 values, evenly spread" in recipe._repr_html_()


def test_the_histogram_is_that_of_the_values():
    recipe = fi.recipe("uniform", (100, 70), seed=0)
    counts, _ = np.histogram(recipe[...], bins=notebook.BARS)
    made = np.array(heights(recipe._repr_html_()))
    np.testing.assert_allclose(made / made.max(), counts / counts.max(), atol=2e-3)
    ends = re.findall(r"<text[^>]*>([^<]*)</text>", recipe._repr_html_())
    assert ends == [f"{recipe[...].min():.4g}", f"{recipe[...].max():.4g}"]


def test_at_most_65536_values_of_the_largest_tensors(monkeypatch):
    sizes = []
    kept = notebook.histogram
    monkeypatch.setattr(
        notebook, "histogram", lambda values, caption: sizes.append(values.size) or kept(values, caption)
    )
    for shape in ((1 << 20, 1 << 20), (1 << 40,), (3, 1 << 30, 5), (1 << 40, 1), (1 << 16,), (7, 9), (), (0, 5)):
        for name in ("he_normal", "eye", "zeros") if len(shape) == 2 else ("normal",):
            assert facts(fi.recipe(name, shape, seed=0)._repr_html_())["seed"] == "0"
    assert max(sizes) == 1 << 16
    assert sizes.count(1 << 16) >= 5


@pytest.mark.parametrize(
    ("recipe", "drawn"),
    [
        (fi.recipe("orthogonal", (1 << 20, 1 << 20), seed=0), False),
        (fi.recipe("orthogonal", (1 << 12, 1 << 12), seed=0).part(np.s_[:2]), False),
        (fi.recipe("orthogonal", (512, 512), seed=0), True),
        (fi.recipe("sparse", (1 << 12, 1 << 12), sparsity=0.5, seed=0).part(np.s_[:2]), False),
        (fi.recipe("sparse", (512, 512), sparsity=0.5, seed=0), True),
        (fi.recipe("delta_orthogonal", (3, 3, 1 << 11, 1 << 11), seed=0), False),
        (fi.recipe("delta_orthogonal", (3, 3, 512, 512), seed=0), True),
    ],
)
def test_no_huge_matrix_is_made(recipe, drawn, monkeypatch):
    if not drawn:
        monkeypatch.setattr(fi.Part, "__getitem__", lambda self, index: pytest.fail("values were made"))
    text = recipe._repr_html_()
    assert bool(heights(text)) == drawn
    assert ("no histogram: a matrix of" in text) == (not drawn)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_parts_and_dtypes(dtype):
    part = fi.recipe("normal", (300, 20), dtype=dtype, seed=0, std=3.0).part(np.s_[10:20])
    shown = facts(part._repr_html_())
    assert (shown["shape"], shown["dtype"]) == ("10 x 20", dtype)
    assert heights(part._repr_html_())


def test_bfloat16_without_ml_dtypes():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import fastinit as fi; print(fi.recipe('uniform', (300,), dtype='bfloat16', seed=0)._repr_html_())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ends = [float(end) for end in re.findall(r"<text[^>]*>([^<]*)</text>", run.stdout)]
    assert 0 <= ends[0] < 0.1 < 0.9 < ends[1] < 1


def test_values_that_are_not_finite_or_far_apart():
    text = notebook.histogram(np.array([np.nan, np.inf, 1.0, 2.0]), "four")
    assert "four, 2 of them not finite" in text
    assert sum(height > 0 for height in heights(text)) == 2
    assert sum(height > 0 for height in heights(notebook.histogram(np.array([-1.7e308, 0, 1.7e308]), "wide"))) == 3
    assert sum(height > 0 for height in heights(notebook.histogram(np.array([0, 5e-324]), "narrow"))) >= 1
    assert "each" not in notebook.histogram(np.array([np.nan]), "none")


@pytest.mark.parametrize("scale", ["log", "linear", "percent"])
def test_a_line_chart_has_gaps_where_there_is_nothing_to_draw(scale):
    x = np.arange(1, 7)
    y = np.array([0.5, 0.25, np.inf, 0.1, np.nan, 0.2])
    lines = list(parsed(notebook.line_chart("t", [(x, y), (x, np.zeros(6))], scale)).iter("polyline"))
    assert len(lines) == 3 + (scale != "log")
    assert [len(line.get("points").split()) for line in lines[:3]] == [2, 1, 1]
    places = [[float(number) for number in point.split(",")] for line in lines for point in line.get("points").split()]
    assert all(0 <= across <= notebook.WIDTH and 0 <= down <= notebook.HEIGHT for across, down in places)
    assert places[0][1] < places[1][1]  # the larger one is the higher one


def test_a_line_chart_of_nothing():
    assert "nothing to draw" in notebook.line_chart("t", [(np.arange(0), np.zeros(0))], "log")
    one = notebook.line_chart("t", [(np.arange(0), np.zeros(0)), (np.arange(1, 3), np.ones(2))], "log")
    assert len(list(parsed(one).iter("polyline"))) == 1
    assert "nothing to draw" in notebook.line_chart("t", [(np.arange(2), np.zeros(2))], "log")
    flat = notebook.line_chart("t", [(np.arange(2), np.ones(2))], "log")
    assert len(list(parsed(flat).iter("polyline"))) == 1


@pytest.mark.parametrize(
    "shape", [(), (0,), (0, 1 << 40), (5,), (65536,), (65537,), (1 << 61,), (3, 3, 512, 512), (1000, 999)]
)
def test_the_sample_is_spread_over_every_axis(shape):
    index = notebook.spread_out(shape, 1 << 16)
    taken = [range(n)[part] for n, part in zip(shape, index)]
    size = np.prod([len(one) for one in taken], dtype=object)
    assert size <= 1 << 16
    assert size >= min(1 << 14, np.prod(shape, dtype=object))
    for n, one in zip(shape, taken):
        assert not n or n - one[-1] <= max(one.step, 1)

"""docs/why.md says what the tools say: its numbers, its pictures, its table."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastinit as fi
from fastinit.comparison import label
from fastinit.initializers.activations import _FOR_ACTIVATION

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
#: A number, and in the comment behind it which one it is.
QUOTED = re.compile(r"(?:\b(above|within)\s)?(\d[\d.]*(?:e-?\d+)?)( %)?<!-- (.*?) -->")


@pytest.fixture(scope="module")
def why():
    """tools/why.py, at its full sizes."""
    spec = importlib.util.spec_from_file_location("why", ROOT / "tools" / "why.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QUICK", raising=False)
        spec.loader.exec_module(module)
        yield module


def last_digit(text):
    """What one in the last digit of a number is worth: 0.01 in 0.42, 1e-41 in 1.7e-40."""
    mantissa, _, exponent = text.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def test_every_number_is_what_the_tools_find(why):
    numbers = why.numbers()
    quoted = QUOTED.findall(PAGE)
    assert len(quoted) == PAGE.count("<!--") > 60
    wrong = []
    for bound, text, _, key in quoted:
        found = numbers.get(key, math.nan)
        right = {
            "above": found > float(text),
            "within": found < float(text),
            "": abs(found - float(text)) <= 0.6 * last_digit(text),  # the last digits of products depend on the machine
        }[bound]
        if not right:
            wrong.append(f"{bound} {text} is {found:.6g}: {key}")
    assert not wrong, "\n".join(wrong)


def test_no_other_number_is_on_the_page():
    """Decimals and percentages outside code are all compared; the two of the introduction are arithmetic."""
    text = QUOTED.sub("", PAGE.partition("## Papers")[0])
    text = re.sub(r"`[^`]*`", "", text)
    assert re.findall(r"\d+\.\d+(?:e-?\d+)?|\de-?\d+|\d+ %", text) == ["0.9", "0.005", "1.1"]
    assert (round(0.9**50, 3), round(1.1**50)) == (0.005, 117)


def test_every_picture_is_there_and_small(why):
    named = re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", PAGE)
    there = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert sorted(named) == sorted(why.PICTURE_ROWS)
    assert max(there[name] for name in named) < 100_000
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    seen = {name for page in pages for name in re.findall(r"pictures/([\w.]+)", page.read_text(encoding="utf-8"))}
    assert set(there) == seen


def test_pictures_are_drawn_and_quick_ones_replace_none(why, tmp_path):
    before = {path: path.read_bytes() for path in (ROOT / "docs" / "pictures").iterdir()}
    drawn = subprocess.run(
        [sys.executable, ROOT / "tools" / "why.py"],
        env={**os.environ, "QUICK": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(drawn.stderr.splitlines()) == len(why.PICTURE_ROWS)
    assert before == {path: path.read_bytes() for path in (ROOT / "docs" / "pictures").iterdir()}


def test_the_same_numbers_give_the_same_bytes(why, tmp_path):
    rows = [
        ("title", [why.Panel("t", "x", "y", "log", [why.Curve("a", why.np.arange(1, 9), why.np.geomspace(1, 8, 8))])])
    ]
    for name in ("first.svg", "second.svg"):
        why.draw(rows, tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def rows_of_the_table():
    """(activations, network, initializer) of each row."""
    lines = PAGE.partition("## Which initializer")[2].partition("## Papers")[0].splitlines()
    for line in lines:
        if line.startswith("|") and "`" in line:
            activations, network, initializer, _ = (cell.strip() for cell in line.strip("|").split("|"))
            yield activations.split(", "), network, initializer.strip("`")


def test_the_table_is_for_activation():
    rows = list(rows_of_the_table())
    said = {name: initializer for names, network, initializer in rows if network == "mlp, cnn" for name in names}
    recommended = {name: fi.for_activation(name) for name in _FOR_ACTIVATION}
    # the label leaves defaults out; axes are the caller's
    assert said == {name: label(initializer) for name, initializer in recommended.items()}
    assert sum(len(names) for names, network, _ in rows if network == "mlp, cnn") == len(said)


OTHERS = [
    (name, network, initializer)
    for names, network, initializer in rows_of_the_table()
    if network != "mlp, cnn"
    for name in names
]


@pytest.mark.parametrize(("activation", "network", "initializer"), OTHERS)
def test_what_the_table_says_for_other_networks_keeps_signal_and_gradient(activation, network, initializer):
    kind, _, rest = network.replace(",", "").partition(" ")
    scale = "1/sqrt(depth)" if "branches / sqrt(depth)" in rest else 1.0
    (signal,) = fi.propagate(initializer, activation, network=kind, depth=100, width=64, batch=32, branch_scale=scale)
    assert 0.05 < signal.activation_std[-1] < 3
    assert 0.05 < signal.input_gradient_std < 3


def test_every_paper_that_is_cited_is_listed():
    text, _, listed = PAGE.partition("## Papers")
    cited = set(re.findall(r"([A-Z]\w+)(?: et al\.| and [A-Z]\w+)? \(?((?:19|20)\d\d)", text))
    assert len(cited) == 11
    papers = {(re.match(r"\w+", entry)[0], re.search(r"(\d{4})\.\s*$", entry)[1]) for entry in listed.split("\n- ")[1:]}
    assert papers == cited

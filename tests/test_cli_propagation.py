"""The commands `propagate` and `symmetry`: their syntax, what they print where, pictures, exit codes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
from fastinit.cli_propagation import parse_initializer
from fastinit.tables import percent, sparkline

SMALL = ("--depth", "6", "--width", "32", "--batch", "16")


@pytest.fixture
def run(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    return command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("he_normal", fi.init("he_normal")),
        ("kaiming_normal", fi.init("he_normal")),
        ("constant:0.5", fi.init("constant", value=0.5)),
        ("constant:-3", fi.init("constant", value=-3.0)),
        ("normal:0.02", fi.init("normal", std=0.02)),
        ("truncated_normal:1e-2,lower=-inf", fi.init("truncated_normal", std=0.01, lower="-inf")),
        ("orthogonal:2", fi.init("orthogonal", gain=2.0)),
        ("he_normal:negative_slope=0.2, truncated=true", fi.init("he_normal", negative_slope=0.2, truncated=True)),
        ("uniform:low=-0.1,high=0.1", fi.init("uniform", low=-0.1, high=0.1)),
        ("lecun_normal:in_axis=1,out_axis=0", fi.init("lecun_normal", in_axis=1, out_axis=0)),
        ("lecun_normal:fan_in=none", fi.init("lecun_normal")),
        (
            "variance_scaling:scale=2,mode=fan_in,distribution=uniform",
            fi.init("variance_scaling", scale=2.0, mode="fan_in", distribution="uniform"),
        ),
    ],
)
def test_how_an_initializer_is_written(text, expected):
    assert parse_initializer(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("he_norml", "did you mean 'he_normal'"),
        ("", "unknown initializer ''"),
        ("constant", "needs value="),
        ("constant:", "key=value"),
        ("normal:std=", "key=value"),
        ("normal:0.1,std=0.2", "std is given twice"),
        ("normal:st=1", "no parameter 'st'"),
        ("normal:std=x", "std must be a number"),
        ("uniform:3", "key=value"),
        ("zeros:3", "key=value"),
        ("normal:std=-1", "std"),
    ],
)
def test_what_is_no_initializer(text, words, run):
    for arguments in (("symmetry", text), ("propagate", "--init", text), ("propagate", "--bias", text)):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert len(err.splitlines()) == 1


def test_propagate_prints_what_the_function_returns(run):
    code, out, err = run("propagate", "tanh", "--init", "he_normal", "--init", "normal:0.02", *SMALL, "--seed", "4")
    found = fi.propagate(["he_normal", fi.init("normal", std=0.02)], "tanh", depth=6, width=32, batch=16, seed=4)
    assert (code, err) == (0, "")
    assert out == f"{found}\n"
    assert "\x1b" not in out


def test_symmetry_prints_what_the_function_returns(run):
    code, out, err = run("symmetry", "zeros", "constant:0.5", "he_normal", "--steps", "30")
    found = fi.symmetry(["zeros", fi.init("constant", value=0.5), "he_normal"], steps=30)
    assert (code, out, err) == (0, f"{found}\n", "")


def test_every_option_reaches_the_function(run):
    code, out, _ = run(
        *(
            "propagate",
            "prelu",
            "--init",
            "he_normal:in_axis=1,out_axis=0",
            "--network",
            "residual",
            *SMALL,
            "--seed",
            "3",
        ),
        *(
            "--bias",
            "normal:0.1",
            "--gain",
            "2",
            "--branch-scale",
            "1/sqrt(depth)",
            "--negative-slope",
            "0.1",
            "--json",
        ),
    )
    expected = fi.propagate(
        fi.init("he_normal", in_axis=1, out_axis=0), "prelu", network="residual", depth=6, width=32, batch=16, seed=3,
        bias=fi.init("normal", std=0.1), gain=2, branch_scale="1/sqrt(depth)", negative_slope=0.1,
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(expected.to_dict()))
    code, out, _ = run("symmetry", "he_normal", "--activation", "tanh", "--hidden", "3", "--steps", "9", "--seed", "2", "--json")  # fmt: skip
    assert json.loads(out) == json.loads(
        json.dumps(fi.symmetry("he_normal", "tanh", hidden=3, steps=9, seed=2).to_dict())
    )


def test_json_is_strict(run):
    _, out, _ = run("propagate", "--init", "normal:100", "--json", *SMALL, "--depth", "40")
    d = json.loads(out, parse_constant=lambda text: pytest.fail(text))
    assert "inf" in d["activation_std"]


def test_without_init_it_is_what_the_activation_asks_for(run):
    _, out, _ = run("propagate", "selu", *SMALL)
    assert "\nlecun_normal\n" in out
    _, out, _ = run("propagate", "swish", *SMALL)
    assert "\nhe_normal\n" in out
    assert run("propagate", *SMALL)[1].startswith("relu mlp, depth 6")
    code, _, err = run("propagate", "mish", *SMALL)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "give --init" in err


def test_a_picture(run):
    code, out, _ = run("propagate", "relu", "--init", "he_normal", "--init", "glorot_uniform", *SMALL, "-o", "out.png")
    assert code == 0
    assert out.endswith("out.png is drawn\n")
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("symmetry", "zeros", "--steps", "3", "-o", "out.svg", "--quiet")
    assert (code, out) == (0, "")
    assert "<svg" in Path("out.svg").read_text()


def test_a_picture_that_is_there_stays(run):
    Path("out.png").write_text("mine")
    code, out, err = run("symmetry", "zeros", "-o", "out.png")
    assert (code, out) == (2, "")
    assert err == "fastinit: out.png: it is there, and is not overwritten: --force replaces it\n"
    assert Path("out.png").read_text() == "mine"
    assert run("symmetry", "zeros", "--steps", "3", "-o", "out.png", "--force")[0] == 0
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("propagate", "relu", "-o", "x.foo"), 2, "ends in one of"),
        (("propagate", "relu", "-o", "nowhere/x.png"), 3, "nowhere: No such file"),
        (("propagate", "rellu"), 2, "rellu"),
        (("propagate", "relu", "--network", "mpl"), 2, "mpl"),
        (("propagate", "relu", "--depth", "0"), 2, "0"),
        (
            ("propagate", "relu", "--branch-scale", "x", "--network", "residual"),
            2,
            "neither a number nor 1/sqrt(depth)",
        ),
        (("propagate", "relu", "--branch-scale", "2"), 2, "goes with a residual network"),
        (("propagate", "relu", "--seed", "-1"), 2, "seed"),
        (("propagate", "relu", "--init", "zeros", "--init", "zeros"), 2, "twice"),
        (("propagate", "relu", "--network", "cnn", "--width", "9"), 2, "8 positions"),
        (("symmetry",), 2, "INITIALIZER"),
        (("symmetry", "zeros", "--activation", "softmax"), 2, "no function of one"),
    ],
)
def test_mistakes_are_one_line(run, arguments, code, words):
    got, out, err = run(*arguments)
    assert (got, out, len(err.splitlines())) == (code, "", 1)
    assert words in err
    assert not list(Path().iterdir())


def test_without_matplotlib_a_picture_is_refused_and_the_table_is_not(tmp_path):
    script = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['fastinit', 'symmetry', 'zeros', *sys.argv[1:]]\n"
        "from fastinit.__main__ import main; sys.exit(main())"
    )
    run = [subprocess.run([sys.executable, "-c", script, *more], capture_output=True, text=True, cwd=tmp_path) for more in ((), ("-o", "x.png"))]  # fmt: skip
    assert (run[0].returncode, run[0].stderr) == (0, "")
    assert "distinct units" in run[0].stdout
    assert (run[1].returncode, run[1].stdout) == (2, "")
    assert "pip install 'fastinit-weights[plot]'" in run[1].stderr
    assert len(run[1].stderr.splitlines()) == 1


@pytest.mark.parametrize("columns", ["80", "120"])
def test_sparklines_on_a_terminal(columns, tmp_path):
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastinit", "propagate", "--init", "normal:1", "--init", "zeros", *SMALL, "--depth", "50"],
        stdout=child, stderr=child, cwd=tmp_path, env={**os.environ, "TERM": "xterm", "COLUMNS": columns},
    )  # fmt: skip
    os.close(child)
    text = b""
    while True:
        try:
            block = os.read(parent, 4096)
        except OSError:
            break
        text += block
        if not block:
            break
    os.close(parent)
    assert process.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    lines = [line.rstrip() for line in plain.splitlines()]
    assert max(map(len, lines)) <= int(columns)
    (zeros,) = (line for line in lines if line.startswith("zeros "))
    (wide,) = (line for line in lines if line.startswith("normal ") and "▁" in line)
    forwards, backwards, _ = wide.split()[1:]
    assert list(forwards) == sorted(forwards)
    assert list(backwards) == sorted(backwards, reverse=True)
    assert {forwards[0], forwards[-1]} == {"▁", "█"}
    assert set(zeros.split()[1]) == {"▁"}


def test_help_says_how_an_initializer_is_written(run):
    for command in ("propagate", "symmetry"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "constant:0.5" in out
        assert "uniform:low=-0.1,high=0.1" in out
        assert command in run("--help")[1]


def test_sparkline():
    assert sparkline(np.array([0.0, 0.5, 1.0, np.inf, np.nan]), 10, 0, 1) == "▁▅█xx"
    assert sparkline(np.arange(100.0), 3, 0, 99) == "▁▅█"
    assert sparkline(np.ones(2), 10, 1, 1) == "▁▁"


def test_percent():
    assert [percent(x) for x in (0.0, 1e-5, 0.2567, 0.5, 0.99999, 1.0, None, float("nan"))] == [
        "0 %", "<0.1 %", "25.7 %", "50 %", ">99.9 %", "100 %", "-", "nan",
    ]  # fmt: skip

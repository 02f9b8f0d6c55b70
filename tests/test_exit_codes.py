"""Exit codes of the command: one line, no traceback, and 1 for a mismatch only."""

import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fastinit import cli, terminal
from fastinit.checkpoint import comparing, save, team, verify, writing
from models import three

COMMAND = [sys.executable, "-m", "fastinit"]
MANIFEST = 'seed = 0\n[[tensors]]\nname = "a{0..4}"\nshape = [30, 20]\ninit = "he_normal"\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(MANIFEST)
    return tmp_path


def shell(line, **environment):
    """Exit code, standard output and standard error of a line of shell, where $F is the command."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60, env={**os.environ, "F": " ".join(COMMAND), **environment}
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$F plan m.toml >&-", 0),
        ("$F plan m.toml >&- 2>&-", 0),
        ("$F plan m.toml --json >&-", 0),
        ("$F plan m.toml <&- >&- 2>&-", 0),
        ("$F info >&-", 0),
        ("$F --help >&-", 0),
        ("$F write m.toml -o x.safetensors >&- 2>&- && $F verify x.safetensors >&-", 0),
        (
            "$F write m.toml -o x.safetensors -q 2>&-; $F write m.toml -o y.safetensors >&- && $F verify y.safetensors",
            0,
        ),
        ("$F write m.toml -o x.safetensors >&-; $F verify x.safetensors m.toml --seed 1 >&-", 1),
        ("$F plan no.toml 2>&-", 2),
        ("$F plan no.toml 2>/dev/full", 2),
        ("$F plan m.toml >/dev/full", 3),
        ("$F plan m.toml --json >/dev/full", 3),
        ("$F --help >/dev/full", 3),
        ("$F --help | true", 0),
        ("$F plan m.toml | true", 0),
        ("$F plan .", 3),
        ("$F plan /dev/zero", 3),
        ("mkfifo f.toml; $F plan f.toml", 3),
        ("$F plan <(cat m.toml)", 0),
        ("cat m.toml | $F plan /dev/stdin", 0),
        ("mkfifo f.safetensors; $F verify f.safetensors", 3),
    ],
)
def test_streams_and_pipes(here, line, code):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full and /dev/stdin")
    got, _, err = shell(line)
    assert got == code, err
    assert len(err.splitlines()) <= 2


def test_nothing_printed_ends_up_in_a_file(here):
    """With standard output closed, the first file to be opened would be standard output."""
    assert shell("$F write m.toml -o x.safetensors >&-")[0] == 0
    assert verify(here / "x.safetensors")


DEEP = ".".join("a" * 3000)


@pytest.mark.parametrize(
    "text",
    [
        f"seed = 0\n{DEEP} = 1",
        f"seed = 0\n[{DEEP}]\nb = 1",
        f'seed = 0\n[[tensors]]\nname = "a"\nshape = [2]\ninit = "normal"\nstd.{DEEP} = 1',
        f'seed = 0\n[[tensors]]\nname = "a"\nshape.{DEEP} = 1\ninit = "normal"',
        f'seed = 0\n[[tensors]]\nname.{DEEP} = 1\nshape = [2]\ninit = "normal"',
        f'seed.{DEEP} = 0\n[[tensors]]\nname = "a"\nshape = [2]\ninit = "normal"',
        f"seed = 0\nshapes_from.{DEEP} = 1",
        f"seed = 0\ndtype.{DEEP} = 1",
        "seed = 0\nx = " + "[" * 3000 + "]" * 3000,
        'seed = 0\nshapes_from = "~nouser/x"\nrules = [{match = "*", init = "ones"}]',
        'seed = 0\nshapes_from = "a\\u0000b"\nrules = [{match = "*", init = "ones"}]',
        'seed = 0\nshapes_from = "' + "x" * 5000 + '"\nrules = [{match = "*", init = "ones"}]',
        'seed = 0\nshapes_from = "m.toml"\nrules = [{match = "*", init = "ones"}]',
    ],
)
def test_manifests_that_mean_harm(here, text):
    Path("bad.toml").write_text(text)
    code, out, err = shell("$F plan bad.toml")
    assert (code, out) == (2, "")
    assert all(line.startswith("bad.toml: ") for line in err.splitlines())
    assert len(err) < 5000


@pytest.mark.parametrize("variable", ["FASTINIT_ISA", "FASTINIT_NUM_THREADS"])
def test_an_environment_that_is_wrong(here, variable):
    script = Path(sys.executable).with_name("fastinit")
    for command in (" ".join(COMMAND), str(script)):
        code, _, err = shell(f"{command} info", **{variable: "x"})
        assert (code, len(err.splitlines())) == (2, 1)
        assert variable in err
    done = subprocess.run(
        [sys.executable, "-c", "import fastinit"], capture_output=True, text=True, env={**os.environ, variable: "x"}
    )
    assert "ValueError" in done.stderr  # Python's users get what they know


def test_what_should_not_happen_is_no_mismatch(here, monkeypatch, capfd):
    def fail(*arguments, **options):
        raise LookupError("a fault")

    monkeypatch.setattr(cli, "load_manifest", fail)
    monkeypatch.setattr(sys, "argv", ["fastinit", "plan", "m.toml"])
    assert cli.run() == 4
    assert capfd.readouterr().err == "fastinit: this should not have happened, please report it: LookupError: a fault\n"


@pytest.mark.parametrize("name", ["\udcff.toml", "é.toml"])
def test_names_that_the_terminal_cannot_show(here, name):
    Path(name).write_text(MANIFEST.replace("a{", "ü{") + "sdt = 1")
    code, _, err = shell(f"$F plan '{name}'", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert code == 2
    assert "unknown key 'sdt'" in err
    Path("x.toml").write_text(MANIFEST.replace("a{", "字{"))
    code, out, _ = shell("$F plan x.toml", PYTHONIOENCODING="latin-1")
    assert (code, "\\u5b57{0.." in out) == (0, True)


# ---- threads -------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0, 1, 3])
def few_threads(request, monkeypatch):
    """So many threads can be made, and no more."""
    original, made = threading.Thread.start, []

    def start(thread):
        if sum(one.is_alive() for one in made) >= request.param:
            raise RuntimeError("can't start new thread")
        original(thread)
        made.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return request.param


def test_files_are_written_with_the_threads_there_are(tmp_path, monkeypatch, few_threads):
    monkeypatch.setattr(writing, "PIECE", 2000)
    monkeypatch.setattr(comparing, "SMALL", 100)
    for name, options in (("m.safetensors", {}), ("hf", {"max_shard_size": 1000}), ("big", {"max_shard_size": 9000})):
        assert save(tmp_path / name, three(), threads=8, **options)
        assert verify(tmp_path / name, three(), threads=8)


def test_the_command_works_without_threads(here, monkeypatch, few_threads, capfd):
    for arguments in (["write", "m.toml", "-o", "x.safetensors", "--threads", "8"], ["verify", "x.safetensors"]):
        monkeypatch.setattr(sys, "argv", ["fastinit", *arguments])
        assert cli.run() == 0, capfd.readouterr().err
    monkeypatch.setattr(terminal.Console, "is_terminal", True)  # a bar
    monkeypatch.setattr(sys, "argv", ["fastinit", "write", "m.toml", "-o", "y.safetensors"])
    assert cli.run() == 0, capfd.readouterr().err


def test_a_limit_on_processes():
    """The same from the system itself, which limits no one who is root."""
    script = """
import os, resource, sys
import fastinit as fi, fastinit.checkpoint
from fastinit.checkpoint import save, verify, writing
where = sys.argv[1]
if os.geteuid() == 0:
    os.setresuid(65533, 65533, 65533)
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[2]),) * 2)
recipes = {f"a{i}": fi.recipe("normal", (1000, 1000), seed=0, name=f"a{i}") for i in range(3)}
recipes["q"] = fi.recipe("orthogonal", (300, 300), seed=0, name="q")
save(where + "/m.safetensors", recipes, threads=8)
assert verify(where + "/m.safetensors", threads=8)
"""
    for limit in ("1", "4"):
        with tempfile.TemporaryDirectory() as folder:  # which another user can reach
            os.chmod(folder, 0o777)
            done = subprocess.run(
                [sys.executable, "-c", script, folder, limit], capture_output=True, text=True, timeout=100
            )
            assert done.returncode == 0, done.stderr


def test_a_team_keeps_the_order_and_passes_errors_on():
    for threads in (1, 2, 5):
        with team.Team(threads) as some:
            assert list(some.map(lambda n: n * n, range(100))) == [n * n for n in range(100)]
            done, go_on = [], threading.Event()

            def fail(n, done=done, go_on=go_on):
                done.append(n)
                if n == 3:
                    raise InterruptedError(n)
                assert n < 3 or go_on.wait(60)

            with pytest.raises(InterruptedError):
                list(some.map(fail, range(10_000)))
            go_on.set()
            assert some.submit(lambda: 5).result() == 5
            assert len(done) < 20


# ---- plan ----------------------------------------------------------------------------------------------------

PLAN = """
seed = 0
in_axis = 1
out_axis = 0
[[tensors]]
name = "model.layers.{0..1}.self_attn.q_proj.weight"
shape = [5632, 2048]
init = "he_normal"
[[tensors]]
name = "conv"
shape = [3, 3, 16, 32]
init = "glorot_uniform"
in_axis = 2
out_axis = 3
[[tensors]]
name = "given"
shape = [7]
init = "glorot_normal"
fan_in = 5
fan_out = 6
[[tensors]]
name = "bias"
shape = [7]
init = "zeros"
"""


def test_plan_shows_fans(here):
    import json

    Path("fans.toml").write_text(PLAN)
    code, out, _ = shell("$F plan fans.toml")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert " 2048     5632 " in rows["model.layers.{0..1}.self_attn.q_proj.weight"]
    assert "  144      288 " in rows["conv"]
    assert "  5        6 " in rows["given"]
    plan = json.loads(shell("$F plan fans.toml --json")[1])["tensors"]
    found = {tensor["name"]: (tensor["fan_in"], tensor["fan_out"]) for tensor in plan}
    assert found["conv"] == (144, 288)
    assert found["model.layers.1.self_attn.q_proj.weight"] == (2048, 5632)
    assert found["given"] == (5, 6)
    assert found["bias"] == (None, None)


@pytest.mark.parametrize("columns", [80, 200])
def test_plan_on_a_terminal(here, monkeypatch, capsys, columns):
    Path("fans.toml").write_text(PLAN)
    monkeypatch.setattr(sys, "argv", ["fastinit", "plan", "fans.toml"])
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.run() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("fan_in 2048  fan_out 5632" in line for line in lines) == (columns == 80)
    assert len(lines) == 6 if columns == 200 else len(lines) < 25

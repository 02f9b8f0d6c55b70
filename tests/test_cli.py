"""The command line: what it prints where, and its exit codes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastinit as fi
from fastinit import terminal
from fastinit.checkpoint import load_manifest, save

MANIFEST = """
seed = 3
in_axis = 1
out_axis = 0

[[tensors]]
name = "emb"
shape = [300, 20]
init = "normal"
std = 0.02
dtype = "bfloat16"

[[tensors]]
name = "l.{0..1}.w"
shape = [30, 20]
init = "he_normal"

[[tensors]]
name = "cut"
shape = [50]
init = "truncated_normal"
lower = "-inf"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(MANIFEST)
    return tmp_path


@pytest.fixture
def run(here, command):
    return command


def one_line(text):
    return len(text.strip().splitlines()) == 1


def test_plan(run):
    code, out, err = run("plan", "m.toml")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    head = ["name", "count", "shape", "dtype", "initializer", "fan_in", "fan_out", "std", "bounds", "bytes"]
    assert lines[0].split() == head
    assert re.match(r"emb +300 x 20 +bfloat16 +normal\(std=0.02\) +0.02 +\[-0.1328, 0.1328\] +12.0 kB", lines[1])
    assert [line.split()[0] for line in lines[1:4]] == ["emb", "l.{0..1}.w", "cut"]
    assert lines[2].split()[1] == "x2"
    assert lines[4] == "4 tensors, 7,250 parameters, 17.0 kB (17,000 bytes)"


def test_plan_of_every_tensor(run):
    code, out, _ = run("plan", "m.toml", "--all")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["emb", "l.0.w", "l.1.w", "cut"]


def test_plan_shows_what_formulas_give(run):
    table = (
        '[[tensors]]\nname = "l.{layer:0..7}.%s"\nshape = [4, 6]\ninit = "%s"\nstd = "0.02 / sqrt(2 * (layer + 1))"\n'
    )
    Path("f.toml").write_text("seed = 0\n" + table % ("w", "normal") + table % ("v", "truncated_normal"))
    lines = run("plan", "f.toml")[1].splitlines()
    assert re.match(
        r"l.{0..7}.w +x8 +4 x 6 +float32 +normal\(std=0.0141421 to 0.005\) +0.0141421 to 0.005 +\[-0.09419, 0.09419\] +768 bytes",
        lines[1],
    )
    assert re.match(r"l.{0..7}.v +x8 .*truncated_normal\(std=0.0141421 to 0.005\) +0.0124398 to 0.00439813 +", lines[2])
    lines = run("plan", "f.toml", "--all")[1].splitlines()
    assert re.match(r"l.7.w +4 x 6 +float32 +normal\(std=0.005\) +0.005 +\[-0.0333, 0.0333\]", lines[8])
    tensors = json.loads(run("plan", "f.toml", "--json")[1])["tensors"]
    assert [tensor["recipe"]["std"] for tensor in tensors[:8]] == [0.02 / (2 * n) ** 0.5 for n in range(1, 9)]


def test_the_bounds_of_a_row_are_those_of_all_its_tensors(run):
    """Not of its ends alone: a mean that falls, and a std that rises faster at first."""
    Path("b.toml").write_text(
        'seed = 0\n[[tensors]]\nname = "l.{n:0..4}"\nshape = [4]\ninit = "uniform"\nlow = "0 - n"\nhigh = "10 - (n - 2) ** 2"\n'
    )
    assert [line.split()[0] for line in run("plan", "b.toml")[1].splitlines()[1:-1]] == [f"l.{n}" for n in range(5)]
    Path("b.toml").write_text(
        'seed = 0\n[[tensors]]\nname = "l.{n:0..2}"\nshape = [4]\ninit = "normal"\nmean = "0 - n - 50 * n * (n - 1)"\nstd = "n + 1"\n'
    )
    (line,) = run("plan", "b.toml")[1].splitlines()[1:-1]
    assert "[-122, 12.32]" in line
    assert "normal(mean=0 to -102, std=1 to 3)" in line


def test_plan_as_json_is_strict_and_has_the_recipes(run):
    code, out, _ = run("plan", "m.toml", "--json")
    plan = json.loads(out, parse_constant=lambda text: pytest.fail(text))
    assert code == 0
    assert (plan["parameters"], plan["bytes"]) == (7250, 17000)
    recipes = load_manifest("m.toml")
    for tensor in plan["tensors"]:
        recipe = recipes[tensor["name"]]
        assert fi.Recipe.from_dict(tensor["recipe"]) == recipe
        assert (tensor["std"], tensor["bytes"]) == (recipe.std, recipe.nbytes)
        assert (tensor["shape"], tensor["initializer"]) == (list(recipe.shape), recipe.initializer.name)
        assert tuple(map(float, tensor["bounds"])) == recipe.bounds


def test_write_verify_and_exit_codes(run):
    code, out, err = run("write", "m.toml", "-o", "x.safetensors")
    assert code == 0
    assert out.startswith("x.safetensors: 4 tensors, 7,250 parameters, 17.0 kB, in ")
    assert "\x1b" not in err
    assert run("verify", "x.safetensors") == (0, "x.safetensors: 4 of 4 tensors are equal, to the bit\n", "")
    assert run("verify", "x.safetensors", "m.toml")[0] == 0
    code, out, _ = run("verify", "x.safetensors", "m.toml", "--seed", "4")
    assert code == 1
    assert "emb: element [0, 0] is" in out
    assert "0 of 4 tensors are equal" in out
    code, out, _ = run("verify", "x.safetensors", "m.toml", "--seed", "4", "--json")
    found = json.loads(out)
    assert (code, found["equal"], len(found["tensors"])) == (1, False, 4)
    code, out, err = run("write", "m.toml", "-o", "x.safetensors")
    assert (code, out) == (2, "")
    assert one_line(err)
    assert "--force" in err
    assert run("write", "m.toml", "-o", "x.safetensors", "--resume")[0] == 0
    assert run("write", "m.toml", "-o", "x.safetensors", "--force", "--seed", "4", "--quiet") == (0, "", "")
    assert run("verify", "x.safetensors", "m.toml", "--seed", "4", "--quiet") == (0, "", "")
    assert run("verify", "x.safetensors", "m.toml", "--quiet") == (1, "", "")


def test_verify_of_trained_weights_says_how_far_each_tensor_has_moved(run):
    assert run("write", "m.toml", "-o", "x.safetensors", "--quiet")[0] == 0
    trained = load_file("x.safetensors")
    trained["cut"] *= np.float32(1.5)
    trained["l.1.w"][3, 4] += 1
    del trained["l.0.w"]
    save_file(trained, "t.safetensors")
    code, out, _ = run("verify", "t.safetensors", "m.toml", "--moved")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "name"
    assert "||w - w0|| / ||w0||" in lines[0]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    assert rows["emb"] == ["0", "0", "0.0%"]
    assert rows["l.0.w"] == []
    assert rows["cut"][0] == "0.5"
    assert rows["cut"][2] == "100.0%"
    assert rows["l.1.w"][1:] == ["1", "0.2%"]
    assert lines[5:] == ["l.0.w: missing", "t.safetensors: 1 of 4 tensors are equal"]
    found = json.loads(run("verify", "t.safetensors", "m.toml", "--json")[1])["tensors"]
    assert [tensor["moved"] for tensor in found] == [0, None, found[2]["moved"], pytest.approx(0.5, rel=1e-6)]
    assert found[2]["moved"] == pytest.approx(1 / np.linalg.norm(load_manifest("m.toml")["l.1.w"][...]), rel=1e-6)


def test_commands_take_a_manifest_with_literals(run, here):
    recipes = {f"layers.{n}.freq": fi.literal(np.linspace(0, 1, 2000, dtype=np.float32)) for n in range(3)}
    recipes["layers.0.freq"] = fi.paste(recipes["layers.0.freq"], np.s_[:7], fi.recipe("ones", 7, seed=0))
    fi.checkpoint.dump_manifest("l.toml", recipes)
    code, out, _ = run("plan", "l.toml")
    assert (code, out.splitlines()[-1]) == (0, "3 tensors, 6,000 parameters, 24.0 kB (24,000 bytes)")
    assert "layers.{1..2}.freq" in out
    assert run("show", "l.toml", "layers.1.freq[:4]")[0] == 0
    assert run("write", "l.toml", "-o", "l.safetensors", "--quiet") == (0, "", "")
    assert (
        run("verify", "l.safetensors", "l.toml", "--quiet") == run("verify", "l.safetensors", "--quiet") == (0, "", "")
    )
    moved = load_file("l.safetensors")
    moved["layers.2.freq"][5] += 1
    save_file(moved, "moved.safetensors")
    assert json.loads(run("verify", "moved.safetensors", "l.toml", "--json")[1])["tensors"][2]["moved"] > 0
    next(here.glob("l.literals-*")).unlink()
    code, out, err = run("plan", "l.toml")
    assert (code, out) == (2, "")
    assert one_line(err)
    assert "No such file" in err


def test_write_options(run, here):
    assert (
        run("write", "m.toml", "-o", "hf", "--max-shard-size", "12500", "--dtype", "float64", "--part", "1/2")[0] == 0
    )
    assert not Path("hf").exists()
    code, out, _ = run("write", "m.toml", "-o", "hf", "--max-shard-size", "12.5kB", "--dtype", "float64", "--part", "0/2", "--json", "--threads", "1")  # fmt: skip
    assert (code, json.loads(out)["complete"]) == (0, True)
    assert sorted(p.name for p in Path("hf").iterdir()) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]  # fmt: skip
    assert load_file("hf/model-00002-of-00002.safetensors")["l.1.w"].dtype == np.float64
    assert run("verify", "hf", "m.toml", "--dtype", "float64")[0] == 0
    assert run("write", "m.toml", "-o", "m.zarr", "--dtype", "float32")[0] == 2  # emb says bfloat16
    Path("one.toml").write_text('seed = 0\ntensors = [{name = "a", shape = [3], init = "ones"}]')
    assert run("write", "one.toml", "-o", "a.npy")[0] == 0
    assert (np.load("a.npy") == 1).all()
    assert run("write", "one.toml", "-o", "a.zarr")[0] == 0
    assert run("verify", "a.zarr")[0] == 0


def test_show(run):
    recipe = load_manifest("m.toml")["l.1.w"]
    assert run("write", "m.toml", "-o", "x.safetensors", "--quiet")[0] == 0
    for file in ("m.toml", "x.safetensors"):
        code, out, _ = run("show", file, "l.1.w[-2:, ::7]", "--json")
        shown = json.loads(out)
        assert code == 0
        assert (shown["shape"], shown["dtype"]) == ([2, 3], "float32")
        assert shown["values"] == recipe[-2:, ::7].tolist()
        assert shown["statistics"]["mean"] == pytest.approx(recipe[-2:, ::7].astype(float).mean())
        assert sum(shown["histogram"]["counts"]) == 6
        code, out, _ = run("show", file, "emb")
        assert code == 0
        assert "shape 300 x 20 of 300 x 20, bfloat16" in out
        assert "elements 6000" in out
        assert "█" in out
        assert ("by its recipe: std 0.02" in out) == (file == "m.toml")
    assert json.loads(run("show", "m.toml", "emb[5, 3]", "--json")[1])["values"] == float(
        load_manifest("m.toml")["emb"][5, 3]
    )
    assert run("show", "m.toml", "emb[..., 0]", "--quiet") == (0, "", "")


def test_show_takes_whatever_numbers_a_file_holds(run):
    arrays = {
        "n[0]": np.array([1.0, np.nan, np.inf, -np.inf]),
        "i": np.arange(5),
        "none": np.empty((0, 3), np.float32),
        "same": np.full(4, 0.1),
        "wide": np.array([-1.7e308, 1.7e308]),
        "c": np.ones(3, np.complex64),
        "all": np.full(3, np.nan, np.float32),
    }
    save_file(arrays, "t.safetensors")
    code, out, _ = run("show", "t.safetensors", "n[0]", "--json")
    assert (code, json.loads(out)["values"]) == (0, [1.0, "nan", "inf", "-inf"])
    assert json.loads(out)["statistics"]["not finite"] == 3
    assert json.loads(run("show", "t.safetensors", "n[0][0]", "--json")[1])["values"] == 1.0
    for name in ("i", "none", "same", "wide", "all"):
        assert run("show", "t.safetensors", name)[0] == 0
        assert run("show", "t.safetensors", name, "--json")[0] == 0
    assert run("show", "t.safetensors", "c")[0] == 2


def test_a_slice_of_a_table_larger_than_memory(run):
    manifest = str(Path(__file__).parent.parent / "examples" / "dlrm-dcnv2.toml")
    name = "model.sparse_arch.embedding_bag_collection.embedding_bags.t_cat_21.weight"
    code, out, _ = run("show", manifest, f"{name}[-1, :4]", "--json")
    assert (code, json.loads(out)["values"]) == (0, load_manifest(manifest)[name][-1, :4].tolist())
    code, _, err = run("show", manifest, name)
    assert (code, one_line(err)) == (2, True)
    assert "give a smaller slice" in err


def test_info(run):
    code, out, _ = run("info", "--json")
    assert code == 0
    assert json.loads(out)["fastinit"] == fi.__version__
    assert {"devices", "driver", "nvrtc", "missing", "cache", "kernels"} == json.loads(out)["CUDA"].keys()
    assert "instruction sets" in run("info")[1]
    assert "CUDA devices" in run("info")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "no.toml"], 2, "does not exist"),
        (["paln", "m.toml"], 2, "No such command"),
        (["plan", "bad.toml"], 2, "did you mean 'std'"),
        (["write", "m.toml"], 2, "Missing option"),
        (["write", "m.toml", "-o", "x.bin"], 2, "the ending says"),
        (["write", "m.toml", "-o", "x.npy"], 2, "one tensor"),
        (["write", "m.toml", "-o", "x", "--max-shard-size", "5XB"], 2, "unknown unit"),
        (["write", "m.toml", "-o", "x", "--max-shard-size", "5GB", "--part", "2/2"], 2, "0 <= I < N"),
        (["write", "m.toml", "-o", "x", "--max-shard-size", "5GB", "--part", "x"], 2, "0 <= I < N"),
        (["write", "m.toml", "-o", "x.safetensors", "--part", "0/2"], 2, "max_shard_size"),
        (["write", "m.toml", "-o", "x.safetensors", "--threads", "0"], 2, "threads"),
        (["write", "m.toml", "-o", "x.safetensors", "--seed", "-1"], 2, "seed must be at least 0"),
        (["write", "m.toml", "-o", "x.safetensors", "--dtype", "int8"], 2, "dtype"),
        (["write", "m.toml", "-o", "no/x.safetensors"], 3, "No such file or directory"),
        (["write", "m.toml", "-o", "folder.safetensors"], 3, "a folder is where the file should be"),
        (["write", "m.toml", "-o", "m.toml", "--max-shard-size", "5GB"], 3, "a file is where the folder should be"),
        (["verify", "m.toml"], 2, "m.toml is a manifest"),
        (["verify", "folder.safetensors"], 2, "neither model.safetensors nor"),
        (["verify", "junk.safetensors"], 2, "the header's length"),
        (["verify", "plain.safetensors"], 2, "no recipes of its own"),
        (["verify", "plain.safetensors", "--seed", "1"], 2, "MANIFEST"),
        (["show", "plain.safetensors", "a", "--seed", "1"], 2, "manifest"),
        (["show", "m.toml", "emd"], 2, "did you mean 'emb'?"),
        (["show", "m.toml", "emb[300]"], 2, "300"),
        (["show", "m.toml", "emb[a]"], 2, "is no index"),
        (["show", "m.toml", "emb[1:2:3:4]"], 2, "is no index"),
        (["show", "m.toml", "emb[0,0,0]"], 2, "too many indices"),
        (["show", "m.toml", "emb[::0]"], 2, "zero"),
        (["show", "junk.safetensors", "a"], 2, "the header's length"),
    ],
)
def test_bad_input(run, arguments, code, words):
    Path("bad.toml").write_text('seed = 0\ntensors = [{name = "a", shape = [3], init = "normal", sdt = 1}]')
    Path("junk.safetensors").write_bytes(b"junk" * 100)
    Path("folder.safetensors").mkdir()
    save_file({"a": np.ones(3)}, "plain.safetensors")
    before = sorted(Path().iterdir())
    got, out, err = run(*arguments)
    assert got == code, err
    assert words in err
    assert out == ""
    assert "Traceback" not in err
    assert one_line(err)
    assert sorted(Path().iterdir()) == before


def test_every_mistake_of_a_manifest_is_a_line(run):
    Path("bad.toml").write_text('sead = 0\ntensors = [{name = "a", shape = [3], init = "normal", sdt = 1}]')
    code, _, err = run("plan", "bad.toml")
    assert (code, len(err.splitlines())) == (2, 3)
    assert all("bad.toml: " in line for line in err.splitlines())


def test_a_disk_error_is_one_line_and_what_is_written_is_kept(run, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        code, _, err = run("write", "m.toml", "-o", "x.safetensors", "--quiet")
    assert (code, one_line(err)) == (3, True)
    assert "x.safetensors.partial" in err
    assert "No space left on device" in err
    assert "--resume" in err
    assert run("write", "m.toml", "-o", "x.safetensors", "--resume")[0] == 0
    assert run("verify", "x.safetensors")[0] == 0


def test_help_names_every_command(run):
    out = run("--help")[1]
    for command in ("plan", "write", "verify", "show", "info"):
        assert command in out
        code, text, _ = run(command, "--help")
        assert code == 0
        assert "--json" in text
    assert run("--version")[1].split()[-1] == fi.__version__


# ---- as processes --------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "fastinit"]


def test_a_bar_on_a_terminal(here):
    """On a terminal: a bar that moves, wiped at the end, and colours; the result stays."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "write", "m.toml", "-o", "x.safetensors"], stdout=child, stderr=child, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )  # fmt: skip
    os.close(child)
    text = b""
    while True:
        try:
            block = os.read(parent, 4096)
        except OSError:
            break
        if not block:
            break
        text += block
    os.close(parent)
    assert process.wait() == 0
    assert "\u2501".encode() in text
    assert b"\x1b[2K" in text
    assert b"4 tensors, 7,250 parameters" in text


def test_lines_when_piped(monkeypatch, capfd):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    report = terminal._lines("x")
    for done in range(0, 101):
        now[0] += 0.5
        report(done * 1000, 100_000)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4] == "x: 50 %, 50.0 kB of 100.0 kB, 1.9 kB/s, 26 s left"


def test_without_its_libraries_it_says_what_to_install(here):
    script = "import sys; sys.modules['rich'] = None; sys.argv = ['fastinit', 'info']; from fastinit.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'fastinit-weights[cli]'" in done.stderr
    assert one_line(done.stderr)


def test_both_names_of_the_command(here):
    script = Path(sys.executable).with_name("fastinit")
    for command in ([str(script)], COMMAND):
        done = subprocess.run([*command, "plan", "m.toml"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "4 tensors" in done.stdout


def test_a_reader_that_goes_away(here):
    Path("long.toml").write_text('seed = 0\ntensors = [{name = "a{0..20000}", shape = [3], init = "ones"}]')
    process = subprocess.Popen(
        [*COMMAND, "plan", "long.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process.stderr:
        with process.stdout:
            assert process.stdout.readline().split()[0] == "name"
        assert (process.wait(60), process.stderr.read()) == (0, "")


def test_a_mismatch_is_one_whoever_reads_of_it(here):
    """`fastinit verify ... | head -1` under pipefail."""
    Path("many.toml").write_text('seed = 0\ntensors = [{name = "a{0..4000}", shape = [3], init = "normal"}]')
    save(Path("many.safetensors"), load_manifest("many.toml"))
    process = subprocess.Popen(
        [*COMMAND, "verify", "many.safetensors", "many.toml", "--seed", "9"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    with process.stderr:
        with process.stdout:
            assert "element [0]" in process.stdout.readline()
        assert process.wait(60) == 1
        assert "Traceback" not in process.stderr.read()


def test_interrupted(here):
    Path("big.toml").write_text('seed = 0\ntensors = [{name = "a", shape = [6000, 6000], init = "orthogonal"}]')
    process = subprocess.Popen(
        [*COMMAND, "write", "big.toml", "-o", "x.safetensors"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not Path("x.safetensors.journal").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["fastinit: what is written so far is kept for --resume", "fastinit: interrupted"]
    assert not Path("x.safetensors").exists()
    assert Path("x.safetensors.partial").exists()

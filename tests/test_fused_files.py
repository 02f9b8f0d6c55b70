"""Composed tensors in files: what other readers find there, equal to the parts; the recipes in the metadata."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import fastinit as fi
from fastinit.checkpoint import save, verify, writing
from fastinit.checkpoint.header import read_header

D, HEADS, GROUPS, HEAD = 96, 8, 4, 16


def drawn(name, *shape, std=0.02, **more):
    return fi.recipe("normal", shape, std=std, seed=5, name=name, **more)


def megatron_qkv(q, k, v):
    """Megatron's linear_qkv: for each query group its query heads, its key head, its value head."""
    rows = []
    for group in range(GROUPS):
        each = HEADS // GROUPS * HEAD
        rows += [q[group * each : (group + 1) * each]]
        rows += [k[group * HEAD : (group + 1) * HEAD], v[group * HEAD : (group + 1) * HEAD]]
    return np.concatenate(rows)


def model():
    """Composed recipes, and the same tensors put together by NumPy."""
    q, k, v = drawn("q", HEADS * HEAD, D), drawn("k", GROUPS * HEAD, D), drawn("v", GROUPS * HEAD, D)
    gate, up = drawn("gate", 200, D), drawn("up", 200, D, std=0.05)
    experts = [fi.recipe("he_normal", (24, D), seed=5, name=f"experts.{i}") for i in range(64)]
    table, zero = drawn("emb", 300, D), fi.recipe("zeros", (D,), seed=0)
    padded = table[...]
    padded[0] = 0
    frequencies = (10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)).astype(np.float32)
    recipes = {
        "qkv": fi.concatenate([q, k, v], groups=GROUPS),
        "gate_up": fi.concatenate([gate, up]),
        "experts": fi.stack(experts),
        "emb": fi.paste(table, 0, zero),
        "head": table.T,
        "inv_freq": fi.literal(frequencies),
        "flat": q.reshape(-1),
        "columns": fi.concatenate([gate, up]).part(np.s_[:, 32:64]),
        "plain": drawn("plain", 7, 5),
    }
    wanted = {
        "qkv": megatron_qkv(q[...], k[...], v[...]),
        "gate_up": np.concatenate([gate[...], up[...]]),
        "experts": np.stack([expert[...] for expert in experts]),
        "emb": padded,
        "head": table[...].T,
        "inv_freq": frequencies,
        "flat": q[...].ravel(),
        "columns": np.concatenate([gate[...], up[...]])[:, 32:64],
        "plain": drawn("plain", 7, 5)[...],
    }
    return recipes, wanted


@contextlib.contextmanager
def at_most(nbytes):
    """No more bytes in Python's and NumPy's hands at any time; a peak of the process may be an earlier test's."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < nbytes
    finally:
        tracemalloc.stop()


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name].view(np.uint32), np.ascontiguousarray(array).view(np.uint32), name)


def test_a_file_holds_the_parts(tmp_path):
    recipes, wanted = model()
    assert save(tmp_path / "m.safetensors", recipes)
    assert_same(safetensors.numpy.load_file(tmp_path / "m.safetensors"), wanted)
    assert verify(tmp_path / "m.safetensors")
    assert verify(tmp_path / "m.safetensors", recipes)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_folder_holds_the_parts_whoever_writes_them(tmp_path, parts):
    recipes, wanted = model()
    done = [save(tmp_path / "m", recipes, max_shard_size="64KB", part=(i, parts)) for i in range(parts)]
    assert done == [False] * (parts - 1) + [True]
    found = {}
    for file in (tmp_path / "m").glob("*.safetensors"):
        found |= safetensors.numpy.load_file(file)
    assert_same(found, wanted)
    assert verify(tmp_path / "m")
    assert verify(tmp_path / "m", recipes)


def test_npy_and_zarr(tmp_path):
    recipes, wanted = model()
    zarr = pytest.importorskip("zarr")
    for name in recipes:
        save(tmp_path / f"{name}.npy", recipes[name])
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), wanted[name])
        assert verify(tmp_path / f"{name}.npy", recipes[name])
        assert save(tmp_path / f"{name}.npy", recipes[name], resume=True)
    save(tmp_path / "m.zarr", recipes)
    save(tmp_path / "one.zarr", recipes["qkv"])
    assert_same({name: array[...] for name, array in zarr.open(tmp_path / "m.zarr").arrays()}, wanted)
    np.testing.assert_array_equal(zarr.open(tmp_path / "one.zarr")[...], wanted["qkv"])
    assert verify(tmp_path / "m.zarr")
    assert verify(tmp_path / "one.zarr")
    assert save(tmp_path / "m.zarr", recipes, resume=True)


def test_bfloat16(tmp_path):
    fused = fi.stack([drawn(name, 3, 40, dtype="bfloat16") for name in "ab"]).transpose(1, 0, 2)
    save(tmp_path / "m.safetensors", {"w": fused})
    assert verify(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="bfloat16"):
        save(tmp_path / "m.npy", fused)
    (entry,), _ = read_header(tmp_path / "m.safetensors")
    held = np.fromfile(tmp_path / "m.safetensors", np.uint16, offset=entry.offset).reshape(entry.shape)
    np.testing.assert_array_equal(held, fused[...].view(np.uint16))


def test_a_single_composed_tensor_needs_a_name_in_a_file_of_names(tmp_path):
    recipes, _ = model()
    with pytest.raises(ValueError, match="composed tensor has no name"):
        save(tmp_path / "m.safetensors", recipes["qkv"])
    assert list(tmp_path.iterdir()) == []


def test_the_metadata_has_the_recipes_as_dicts(tmp_path):
    recipes, _ = model()
    save(tmp_path / "m.safetensors", recipes)
    _, metadata = read_header(tmp_path / "m.safetensors")
    described = json.loads(metadata["fastinit"])
    assert described == {name: recipe.to_dict() for name, recipe in recipes.items()}
    assert {name: fi.Recipe.from_dict(d) for name, d in described.items()} == recipes


def test_verify_says_how_far_a_fused_tensor_has_moved(tmp_path):
    recipes, wanted = model()
    moved = {name: np.array(array, order="C") for name, array in wanted.items()}
    moved["qkv"][40, 3] += 1
    moved["emb"][0, 5] = 0.5
    safetensors.numpy.save_file(moved, tmp_path / "m.safetensors")
    found = verify(tmp_path / "m.safetensors", recipes)
    assert {name for name, comparison in found.tensors.items() if not comparison.equal} == {"qkv", "emb"}
    assert found.tensors["qkv"].first == (40, 3)
    assert found.tensors["emb"].first == (0, 5)
    assert found.tensors["emb"].largest_change == 0.5


def test_resume_goes_on_within_a_fused_tensor(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "STRETCH", 1 << 20)
    monkeypatch.setattr(writing, "PIECE", 1 << 16)
    parts = [drawn(f"p{i}", 2048, 512) for i in range(3)]
    recipes = {"w": fi.concatenate(parts, axis=1, groups=4)}
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "m.safetensors", recipes, progress=_stopping(8 << 20), threads=2)
    with pytest.raises(ValueError, match="another"):
        save(tmp_path / "m.safetensors", {"w": fi.concatenate(parts, axis=1, groups=2)}, resume=True)
    first = []
    save(tmp_path / "m.safetensors", recipes, resume=True, progress=lambda done, total: first.append(done))
    assert first[0] >= 4 << 20  # by the journal
    wanted = np.concatenate([np.split(p[...], 4, axis=1)[g] for g in range(4) for p in parts], axis=1)
    assert_same(safetensors.numpy.load_file(tmp_path / "m.safetensors"), {"w": wanted})


def _stopping(after):
    def report(done, total):
        if done >= after:
            raise KeyboardInterrupt

    return report


def test_no_memory_proportional_to_the_tensor(tmp_path):
    experts = [drawn(f"e{i}", 1024, 1024) for i in range(48)]
    recipes = {"experts": fi.stack([expert.T for expert in experts]), "head": drawn("h", 8192, 1024).T}
    save(tmp_path / "warm.safetensors", {"a": fi.stack(experts[:2])})
    assert sum(recipe.nbytes for recipe in recipes.values()) > 200 << 20
    with at_most(64 << 20):
        save(tmp_path / "m.safetensors", recipes)


def test_orthogonal_experts_are_made_one_by_one(tmp_path):
    experts = [fi.recipe("orthogonal", (512, 1024), seed=5, name=f"e{i}") for i in range(80)]
    recipes = {"experts": fi.stack(experts), "fused": fi.concatenate(experts[:3])}
    path = tmp_path / "m.safetensors"
    with pytest.raises(KeyboardInterrupt):
        save(path, recipes, progress=_stopping(40 << 20))
    told = []
    save(path, recipes, resume=True, progress=lambda done, total: told.append(done))
    assert told[0] >= 36 << 20  # not from the stack's beginning
    held = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(held["experts"][17], experts[17][...])
    np.testing.assert_array_equal(held["fused"][512:1024], experts[1][...])
    del held
    made = []
    fill = fi.Part.fill
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fi.Part, "fill", lambda self, *args, **more: made.append(self.nbytes) or fill(self, *args, **more)
        )
        with at_most(120 << 20):
            assert verify(path)
    assert max(made) == experts[0].nbytes


# ---- literals ----------------------------------------------------------------------------------------------


def long_literal(n=3000, dtype=np.float32):
    return fi.literal(np.random.default_rng(1).normal(size=n).astype(dtype))


def with_literals(long):
    """Tensors that have all of a long literal somewhere, or some of it, and short ones."""
    n = long.size
    table, short = drawn("t", 40, n, dtype=long.dtype), fi.literal(np.arange(8, dtype=long.dtype))
    return {
        "alone": long,
        "short": short,
        "twice": fi.concatenate([long, drawn("d", 5, dtype=long.dtype), long]),
        "row": fi.paste(table, 3, long),
        "column": fi.paste(table, 3, long).T,
        "shard": fi.paste(table, 3, long).part(np.s_[:, 10:1000:3]),
        "hidden": fi.paste(long, np.s_[100:200], drawn("h", 100, dtype=long.dtype)),
        "reshaped": fi.stack([long.reshape(2, -1), drawn("s", 2, n // 2, dtype=long.dtype)], axis=1),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("suffix", [".safetensors", ".zarr"])
def test_long_literals_are_hashes_that_verify_checks(tmp_path, dtype, suffix):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    recipes = with_literals(long_literal(70_000 if dtype is np.float16 else 3000, dtype))
    path = tmp_path / f"m{suffix}"
    save(path, recipes)
    assert verify(path), str(verify(path))
    assert verify(path, recipes)
    assert save(path, recipes, resume=True)


def test_the_metadata_has_the_hash_of_a_long_literal_and_says_so(tmp_path):
    long = long_literal()
    save(tmp_path / "m.safetensors", with_literals(long))
    _, metadata = read_header(tmp_path / "m.safetensors")
    described = json.loads(metadata["fastinit"])
    assert described["alone"].keys() == {"stream", "literal_sha256", "dtype", "shape"}
    assert described["alone"]["literal_sha256"] == hashlib.sha256(long[...].tobytes()).hexdigest()
    assert "literal" in described["short"]
    assert len(metadata["fastinit"]) < 4096
    for name in described.keys() - {"short"}:
        with pytest.raises(ValueError, match="SHA-256"):
            fi.Recipe.from_dict(described[name])


@pytest.mark.parametrize("name", ["alone", "twice", "row", "column", "shard", "hidden", "reshaped"])
def test_verify_finds_one_changed_bit_of_a_long_literal_or_beside_it(tmp_path, name):
    recipes = with_literals(long_literal())
    path = tmp_path / "m.safetensors"
    save(path, recipes)
    marked = fi.Recipe.from_dict(_marked(recipes[name].to_dict()))[...].ravel()
    (entry,) = (entry for entry in read_header(path)[0] if entry.name == name)
    for where, whose in ((np.flatnonzero(marked), "literal"), (np.flatnonzero(marked == 0), "drawn")):
        if not len(where):
            assert (whose, name) == ("drawn", "alone")
            continue
        for at in (int(where[0]), int(where[-1])):
            changed = bytearray(path.read_bytes())
            changed[entry.offset + 4 * at] ^= 1
            (tmp_path / "changed.safetensors").write_bytes(changed)
            found = verify(tmp_path / "changed.safetensors")
            assert [other for other, comparison in found.tensors.items() if not comparison.equal] == [name]
            if whose == "literal":
                assert "SHA-256" in str(found.tensors[name])
            else:
                assert np.ravel_multi_index(found.tensors[name].first, entry.shape) == at
            moved = verify(tmp_path / "changed.safetensors", recipes).tensors[name]
            assert np.ravel_multi_index(moved.first, entry.shape) == at  # the recipe tells more than the hash


def _marked(d):
    """Ones for literals and zeros for what is drawn."""
    if "init" in d or "literal" in d:
        kept = {key: d[key] for key in ("stream", "shape", "dtype") if key in d}
        return {**kept, "init": "ones" if "literal" in d else "zeros", "seed": 0, "name": ""}
    return {
        key: _marked(v) if isinstance(v, dict) else [_marked(x) for x in v] if key in ("stack", "concatenate") else v
        for key, v in d.items()
    }


@pytest.mark.parametrize(
    "described",
    [
        {"literal_sha256": "0" * 64, "dtype": "float32", "shape": [1 << 40]},
        {"literal_sha256": 5, "dtype": "float32", "shape": [4]},
        {"literal_sha256": "0" * 64, "dtype": "float32", "shape": "4"},
        {"literal_sha256": "0" * 64, "shape": [4]},
        {"literal_sha256": "0" * 64, "dtype": "float32", "shape": [-4]},
        {"part": {"literal_sha256": "0" * 64, "dtype": "float32", "shape": [1 << 40]}, "at": [[0, 4, 1]]},
        {"stack": [{"literal_sha256": "0" * 64, "dtype": "float32", "shape": [4]}, 3], "axis": 0},
        {"reshape": {"literal_sha256": "0" * 64, "dtype": "float32", "shape": [4]}, "shape": [5]},
    ],
)
def test_hostile_hashes(tmp_path, described):
    path = tmp_path / "m.safetensors"
    metadata = {"fastinit": json.dumps({"w": {"stream": 1, **described}})}
    safetensors.numpy.save_file({"w": np.zeros(4, np.float32)}, path, metadata=metadata)
    with at_most(64 << 20), contextlib.suppress(fi.checkpoint.HeaderError):  # either will do
        assert not verify(path)


@pytest.mark.parametrize("depth", [600, 50_000])
def test_deep_nesting_is_refused_in_a_line(tmp_path, depth):
    leaf = '{"literal_sha256": "0", "dtype": "float32", "shape": [4]}'
    deep = '{"transpose": ' * depth + leaf + ', "axes": [0]}' * depth
    metadata = {"fastinit": '{"w": ' + deep + "}"}
    safetensors.numpy.save_file({"w": np.zeros(4, np.float32)}, tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(fi.checkpoint.HeaderError, match=r"nested (at most 64 deep|too deeply)"):
        verify(tmp_path / "m.safetensors")

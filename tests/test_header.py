"""Headers of files: strict, and refused before any memory is taken."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import fastinit as fi
from fastinit.checkpoint import HeaderError, load_manifest, reading, save, verify
from fastinit.checkpoint.header import LONGEST, make_header, read_header
from fastinit.checkpoint.reading import open_checkpoint

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def raw(header, data=bytes(32), length=None):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def changed(name, **values):
    return GOOD | {name: GOOD[name] | values}


HOSTILE = {
    "empty": b"",
    "seven bytes": bytes(7),
    "length past the end": raw(GOOD, length=10_000),
    "length 2^63": raw(GOOD, length=1 << 63),
    "length 2^64 - 1": raw(GOOD, length=(1 << 64) - 1),
    "no JSON": raw("{'a': 1}"),
    "no object": raw("[1]"),
    "two objects": raw("{}{}"),
    "not UTF-8": raw(b'{"\xff": {}}'),
    "duplicate names": raw('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[32],"data_offsets":[0,32]}}'),
    "duplicate keys": raw('{"a":{"dtype":"U8","dtype":"F32","shape":[32],"data_offsets":[0,32]}}'),
    "duplicate in metadata": raw('{"__metadata__":{"x":"","x":""}, "a":{"dtype":"U8","shape":[32],"data_offsets":[0,32]}}'),
    "overlap": raw(changed("b", data_offsets=[20, 28])),
    "same place": raw({n: {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]} for n in "ab"}),
    "gap": raw(changed("a", shape=[2, 2], data_offsets=[0, 16])),
    "past the end": raw(changed("b", shape=[8], data_offsets=[24, 40])),
    "bytes left over": raw(GOOD, bytes(33)),
    "bytes missing": raw(GOOD, bytes(31)),
    "backwards": raw(changed("a", shape=[0], data_offsets=[24, 0])),
    "negative offset": raw(changed("a", data_offsets=[-24, 0])),
    "offset 2^64": raw(changed("b", data_offsets=[24, (1 << 64) + 32])),
    "three offsets": raw(changed("b", data_offsets=[24, 28, 32])),
    "float offset": raw(changed("b", data_offsets=[24, 32.0])),
    "shape 2^63": raw(changed("a", shape=[1 << 63])),
    "shape that overflows to 6": raw(changed("a", shape=[(1 << 62) + 6, 4])),
    "shape of 2^62 zeros": raw(changed("a", shape=[0] * 100)),
    "negative shape": raw(changed("a", shape=[-2, -3])),
    "bool shape": raw(changed("a", shape=[True, 6])),
    "float shape": raw(changed("a", shape=[2.0, 3])),
    "text shape": raw(changed("a", shape="23")),
    "no shape": raw({"a": {"dtype": "F32", "data_offsets": [0, 32]}}),
    "more keys": raw(changed("a", strides=[1])),
    "entry is a list": raw({"a": ["F32", [8], [0, 32]]}),
    "too large for its bytes": raw(changed("a", shape=[7])),
    "too small for its bytes": raw(changed("a", shape=[5])),
    "unknown dtype": raw(changed("a", dtype="F33")),
    "dtype of the wrong type": raw(changed("a", dtype=["F32"])),
    "NaN": raw('{"a": NaN}'),
    "deep": raw("[" * 200_000),
    "deep object": raw('{"a":' * 100_000),
    "many digits": raw('{"a": {"dtype": "U8", "shape": [' + "9" * 10_000 + '], "data_offsets": [0, 32]}}'),
    "dots": raw({"../a": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}),
    "dots inside": raw({"a/../../b": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}),
    "absolute": raw({"/etc/passwd": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}),
    "backslashes": raw({"..\\a": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}),
    "NUL": raw({"a\0": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}),
    "lone surrogate": raw('{"\\ud800": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}'),
    "metadata is a list": raw({"__metadata__": [], **GOOD}),
    "metadata of numbers": raw({"__metadata__": {"a": 1}, **GOOD}),
}  # fmt: skip


def refused(path):
    """HeaderError by everything that reads a header, in one line that names the file."""
    for read in (read_header, open_checkpoint, verify, lambda p: verify(p, {})):
        with pytest.raises(HeaderError, match=path.name) as caught:
            read(path)
        assert len(str(caught.value)) < 1000
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path, name):
    path = tmp_path / "h.safetensors"
    path.write_bytes(HOSTILE[name])
    refused(path)
    (tmp_path / "m.toml").write_text('seed = 0\nshapes_from = "h.safetensors"\nrules = [{match = "*", init = "ones"}]')
    with pytest.raises(ValueError, match=r"shapes_from: .*h\.safetensors"):
        load_manifest(tmp_path / "m.toml")


def test_a_good_header_is_read(tmp_path):
    path = tmp_path / "h.safetensors"
    path.write_bytes(raw({"__metadata__": {"x": "y"}, **GOOD}))
    entries, metadata = read_header(path)
    assert [(e.name, e.dtype, e.shape, e.nbytes) for e in entries] == [("a", "F32", (2, 3), 24), ("b", "BF16", (4,), 8)]
    assert metadata == {"x": "y"}


def test_no_memory_is_taken_for_what_a_header_says(tmp_path):
    """A sparse file as large as its header says, 2^50 bytes: nothing of that size is allocated or read."""
    path = tmp_path / "h.safetensors"
    text = json.dumps({"a": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + (1 << 40))
    tracemalloc.start()
    tensors = open_checkpoint(path).tensors
    assert tensors["a"].shape == (1 << 38,)
    assert tensors["a"].open()[-1] == 0
    with pytest.raises(ValueError, match="no recipes"):
        verify(path)
    assert not verify(path, {"a": fi.recipe("ones", 4, seed=0, name="a")})
    os.truncate(path, 1 << 33)
    path.write_bytes((1 << 32).to_bytes(8, "little"))
    os.truncate(path, 1 << 33)
    with pytest.raises(HeaderError, match="length"):
        read_header(path)
    path.write_bytes((LONGEST - 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(HeaderError, match="length"):
        read_header(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert LONGEST == 100_000_000


RECIPE = fi.recipe("normal", (4,), seed=0, name="b").to_dict()


@pytest.mark.parametrize(
    "recipes",
    ["", "{", "[]", "{} {}", '{"b": 3}', '{"b": {}}', json.dumps({"b": RECIPE | {"stream": 2}}), json.dumps({"b": RECIPE | {"shape": [1 << 63]}}), json.dumps({"b": RECIPE | {"init": "nrmal"}}), json.dumps({"b": RECIPE | {"more": 1}}), json.dumps({"b": RECIPE | {"std": []}}), json.dumps({"b": RECIPE | {"seed": "x"}}), json.dumps({"b": RECIPE | {"shape": "x"}}), json.dumps({"b": RECIPE | {"name": 3}}), json.dumps({"b": RECIPE | {"dtype": "9" * 5000}}), json.dumps({"b": RECIPE | {"shape": [0, 10**400], "init": "he_normal"}}), '{"b": ' * 5000],
)  # fmt: skip
def test_hostile_recipes_in_the_metadata_are_refused(tmp_path, recipes):
    path = tmp_path / "h.safetensors"
    path.write_bytes(raw({"__metadata__": {"fastinit": recipes}, **GOOD}))
    with pytest.raises(HeaderError, match=r"h\.safetensors: the recipes in its metadata") as caught:
        verify(path)
    assert str(caught.value).isprintable()
    assert open_checkpoint(path).tensors["b"].shape == (4,)  # the tensors can be read all the same
    assert not verify(path, {"b": fi.recipe("normal", (4,), seed=0, name="b")})


@pytest.mark.parametrize(
    "index",
    [b"", b"{}", b"[]", b"\xff", {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../h.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": ""}}, {"weight_map": {"a": ".."}}, {"weight_map": {"a": "x\\h"}}, {"weight_map": {"a": "\ud800"}}, {"weight_map": {"a": "h.safetensors", "b": "h.safetensors", "c": "h.safetensors"}}, '{"weight_map": {"a": "h.safetensors", "a": "h.safetensors"}}'],
)  # fmt: skip
def test_hostile_indexes_are_refused(tmp_path, index):
    (tmp_path / "h.safetensors").write_bytes(raw(GOOD))
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(
        index if isinstance(index, bytes) else (index if isinstance(index, str) else json.dumps(index)).encode()
    )
    for where in (path, tmp_path):
        with pytest.raises(HeaderError, match=r"index\.json"):
            open_checkpoint(where)


def test_an_index_that_leaves_tensors_out(tmp_path):
    """As published models have it: what loads them goes by the index."""
    for shard in ("h", "i"):
        (tmp_path / f"{shard}.safetensors").write_bytes(raw(GOOD))
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "h.safetensors", "b": "i.safetensors"}}))
    checkpoint = open_checkpoint(tmp_path)
    assert list(checkpoint.tensors) == ["a", "b"]
    assert checkpoint.notes[0].endswith(
        "it leaves out 'b' of h.safetensors, 'a' of i.safetensors, which are not looked at"
    )
    zeros = {
        "a": fi.recipe("zeros", (2, 3), seed=0, name="a"),
        "b": fi.recipe("zeros", 4, dtype="bfloat16", seed=0, name="b"),
    }
    found = verify(tmp_path, zeros)
    assert found
    assert found.notes == checkpoint.notes
    path.write_text(json.dumps({"weight_map": {"a": "h.safetensors", "c": "i.safetensors"}}))
    with pytest.raises(HeaderError, match=r"'c' is not in i\.safetensors"):
        open_checkpoint(tmp_path)


def test_an_index_of_files_that_are_not_there(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"b\.safetensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 9, 40, 127, 128, 150])
def test_hostile_npy_files_are_refused(tmp_path, cut):
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    path = tmp_path / "b.npy"
    path.write_bytes((tmp_path / "a.npy").read_bytes()[:cut])
    with pytest.raises(HeaderError, match=r"b\.npy"):
        open_checkpoint(path)


def test_tensors_that_an_index_leaves_out_take_no_memory(tmp_path):
    """A folder can hold one long header under many names."""
    table = {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(3000)}
    (tmp_path / "m0").write_bytes(raw(table, b""))
    for i in range(1, 20):
        (tmp_path / f"m{i}").symlink_to("m0")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"t{i}": f"m{i}" for i in range(20)}}))
    tracemalloc.start()
    found = open_checkpoint(index)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert len(found.tensors) == 20
    assert found.notes[0].count("'") == 6
    assert "and 59977 others" in found.notes[0]


@pytest.mark.parametrize("version", [1, 2])
def test_a_long_npy_header_is_refused_before_there_is_memory_for_it(tmp_path, version):
    length = 60_000 if version == 1 else 1 << 26
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(2 * version, "little"))
        file.truncate(length + 100)
    tracemalloc.start()
    with pytest.raises(HeaderError, match=rf"a\.npy: no \.npy: its header has {length} bytes"):
        open_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_npy_file_that_says_it_is_larger(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(8))
    text = (tmp_path / "a.npy").read_bytes()
    for shape in (
        b"(9,), }",
        b"(1152921504606846976,), }",
        b"(9223372036854775808,), }",
        b"(-8,), }",
        b"(True, 8), }",
        b"(8), }",
        b"[8], }",
        b"(8,)  ",
        b"(4611686018427387904, 4), }",
    ):
        (tmp_path / "a.npy").write_bytes(text.replace(b"(8,), }".ljust(len(shape)), shape))
        with pytest.raises(HeaderError, match=r"a\.npy"):
            open_checkpoint(tmp_path / "a.npy")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(HeaderError, match=r"o\.npy"):
        open_checkpoint(tmp_path / "o.npy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '{"zarr_format": 3, "node_type": "array"}',
        '{"zarr_format": 3, "node_type": "group", "attributes": 3}',
        "{" * 3000,
    ],
)
def test_hostile_zarr_folders_are_refused(tmp_path, text):
    (tmp_path / "z.zarr").mkdir()
    (tmp_path / "z.zarr" / "zarr.json").write_text(text)
    for read in (open_checkpoint, verify):
        with pytest.raises(ValueError, match=r"z\.zarr"):
            read(tmp_path / "z.zarr")


def test_a_zarr_folder_of_nothing(tmp_path):
    (tmp_path / "z.zarr").mkdir()
    with pytest.raises(HeaderError, match=r"z\.zarr: no zarr"):
        open_checkpoint(tmp_path / "z.zarr")
    with pytest.raises(FileNotFoundError, match=r"y\.zarr"):
        open_checkpoint(tmp_path / "y.zarr")


# ---- fuzz: whatever passes here, the safetensors library reads to the same end --------------------------------

TEXT = json.dumps({"__metadata__": {"format": "pt"}, **GOOD})


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_fuzz(tmp_path_factory, data):
    """Bytes of a good file changed, cut out, repeated: refused with HeaderError, or as the library reads it."""
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    text = bytearray(raw(TEXT))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "repeat", "digit", "cut the end"]))
        stop = at + data.draw(st.integers(1, 20))
        if kind == "change":
            text[at] = data.draw(st.integers(0, 255))
        elif kind == "digit":
            text[at] = data.draw(st.sampled_from(list(b'0123456789-."{}[],:')))
        elif kind == "cut":
            del text[at:stop]
        elif kind == "repeat":
            text[at:at] = text[at:stop]
        else:
            del text[at:]
        if not text:
            return
    path.write_bytes(text)
    try:
        entries, metadata = read_header(path)
    except HeaderError:
        return
    with safe_open(path, framework="numpy") as file:  # what passes the strict one passes the library's
        assert set(file.keys()) == {e.name for e in entries}
        assert (file.metadata() or {}) == metadata
        for e in entries:
            assert tuple(file.get_slice(e.name).get_shape()) == e.shape
            assert file.get_slice(e.name).get_dtype() == e.dtype


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "I64", "F4", "x", 3]),
        "shape": st.one_of(st.lists(st.sampled_from([0, 1, 2, 3, 8, 1 << 61, 1 << 63, -1, 2.0, True]), max_size=3), st.none()),
        "data_offsets": st.lists(st.sampled_from([0, 8, 12, 16, 24, 32, 1 << 62, 1 << 64, -8, 8.0]), max_size=3),
    }
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c/d", "", "../x", "é"]), ENTRY, max_size=3),
    st.sampled_from([0, 8, 24, 32]),
)
@example({"a": GOOD["a"], "b": GOOD["b"]}, 32)
def test_fuzz_of_tables(tmp_path_factory, table, size):
    path = tmp_path_factory.getbasetemp() / "table.safetensors"
    path.write_bytes(raw(table, bytes(size)))
    try:
        entries, _ = read_header(path)
    except HeaderError:
        return
    assert sum(e.nbytes for e in entries) == size
    with safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == {e.name for e in entries}


def test_many_files_are_mapped_one_after_the_other(tmp_path, monkeypatch):
    """Small ones as a whole, large ones a tensor at a time: the same values, and the same refusal of what is cut."""
    arrays = {name: np.arange(1000 + 100 * i, dtype=np.float32) for i, name in enumerate("abc")}
    path = tmp_path / "x.safetensors"
    save_file(arrays, path)
    for largest in (0, 1 << 28):
        monkeypatch.setattr(reading, "MAPPED_WHOLE", largest)
        tensors = open_checkpoint(path).tensors
        opened = {name: tensors[name].open() for name in tensors}
        assert all(np.array_equal(opened[name], arrays[name]) for name in arrays)
    tensors = open_checkpoint(path).tensors
    del opened
    os.truncate(path, 5000)
    with pytest.raises(HeaderError, match="has become shorter"):
        tensors["c"].open()


def test_what_save_file_writes_is_read(tmp_path):
    arrays = {
        "a": np.ones((3, 4), np.float64),
        "b": np.zeros(5, bool),
        "c": np.ones((), np.float16),
        "d": np.empty((0, 2)),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"by": "someone"})
    tensors = open_checkpoint(tmp_path / "x.safetensors").tensors
    assert tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(tensors[name].open(), array)
    assert tensors["a"].dtype == "float64"
    assert tensors["b"].dtype == "BOOL"


def test_our_header_is_what_the_library_reads(tmp_path):
    recipes = [("x", fi.recipe("normal", (3, 4), seed=1, name="y"))]
    head = make_header(recipes)
    (tmp_path / "x.safetensors").write_bytes(head + bytes(48))
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert file.metadata().keys() == {"format", "fastinit"}
    save(tmp_path / "y.safetensors", dict(recipes))
    assert (tmp_path / "y.safetensors").read_bytes()[: len(head)] == head

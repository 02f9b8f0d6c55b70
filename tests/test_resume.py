"""Whatever kills the process: OUT is absent, what it was, or complete, and resume makes the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crashing import SCENARIOS, contents
from fastinit.checkpoint import save, verify, writing
from models import three


def journal_of(path):
    return path.with_name(path.name + ".journal")


def last_entry(path):
    """What the journal beside a file says of how much of it is done."""
    return json.loads(journal_of(path).read_text().splitlines()[-1])["done"]


CRASHING = Path(__file__).parent / "crashing.py"


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A write of `three()` that stopped on its way: the path, and what is beside it."""
    monkeypatch.setattr(writing, "PIECE", 4000)
    monkeypatch.setattr(writing, "STRETCH", 20_000)

    def stop(done, total):
        if done > 0.7 * total:
            raise InterruptedError

    def run(name="m.safetensors", **options):
        with pytest.raises(InterruptedError):
            save(tmp_path / name, three(), progress=stop, **options)
        return tmp_path / name

    return run


# ---- killed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_call_that_changes_the_disk(tmp_path, scenario):
    done = subprocess.run(
        [sys.executable, str(CRASHING), scenario, str(tmp_path), "step"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@pytest.mark.parametrize("scenario", ["file", "folder over another"])
def test_killed_at_twenty_random_moments(tmp_path, scenario):
    done = subprocess.run(
        [sys.executable, str(CRASHING), scenario, str(tmp_path), "time"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 20


def test_the_journal_never_runs_ahead_of_the_disk(tmp_path, monkeypatch):
    """Every entry is of bytes that were written before a sync that ended before the entry; the name comes after all."""
    monkeypatch.setattr(writing, "PIECE", 4000)
    monkeypatch.setattr(writing, "STRETCH", 20_000)
    written, synced, entries, events = set(), set(), [], []
    original = {name: getattr(os, name) for name in ("pwrite", "write", "fdatasync", "fsync", "link")}

    def pwrite(fd, data, offset):
        done = original["pwrite"](fd, data, offset)
        written.update(range(offset, offset + done))
        return done

    def write(fd, data):  # of the journal
        if "done" in json.loads(data):
            entries.append(json.loads(data)["done"])
            assert set(range(entries[-1])) <= synced
        return original["write"](fd, data)

    def sync(name):
        def call(fd):
            before = set(written)
            original[name](fd)
            if os.fstat(fd).st_size > 1000:  # the file, not the journal or the folder
                synced.update(before)

        return call

    def link(source, target, **keywords):
        events.append(len(synced))
        original["link"](source, target, **keywords)

    for name, function in (
        ("pwrite", pwrite),
        ("write", write),
        ("fdatasync", sync("fdatasync")),
        ("fsync", sync("fsync")),
        ("link", link),
    ):
        monkeypatch.setattr(os, name, function)
    recipes = {name: recipe for name, recipe in three().items() if name != "q"}  # which is not written by pwrite
    save(tmp_path / "m.safetensors", recipes)
    assert len(entries) > 4
    assert entries == sorted(entries)
    assert events == [(tmp_path / "m.safetensors").stat().st_size]


def test_a_partial_that_already_has_its_name_too(tmp_path):
    """Killed between the link and the unlink: the next write must not begin in the finished file."""
    out = tmp_path / "m.safetensors"
    save(out, three())
    before = out.read_bytes()
    os.link(out, tmp_path / "m.safetensors.partial")

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        save(out, three(seed=1), overwrite=True, progress=stop)
    assert out.read_bytes() == before
    save(out, three(seed=1), overwrite=True, resume=True)
    assert verify(out, three(seed=1))


@pytest.mark.parametrize("piece", [4000, 2808, 1 << 20])
def test_resume_goes_on_where_it_stopped(interrupted, monkeypatch, piece):
    path = interrupted()
    monkeypatch.setattr(writing, "PIECE", piece)  # another version may cut elsewhere
    done = last_entry(path)
    os.truncate(path.with_name(path.name + ".partial"), done)  # as after a power failure
    seen = []
    save(path, three(), resume=True, progress=lambda done, total: seen.append((done, total)))
    assert 0.4 < seen[0][0] / seen[0][1] < 0.8  # not from the start
    assert verify(path, three())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_is_left_is_neither_used_nor_removed_unasked(interrupted):
    path = interrupted()
    before = contents(path.parent)
    with pytest.raises(FileExistsError, match="interrupted write"):
        save(path, three())
    assert contents(path.parent) == before
    save(path, three(seed=5), overwrite=True)  # asked: starts again
    assert verify(path, three(seed=5))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["m.safetensors", "hf", "m.zarr"])
@pytest.mark.parametrize("other", [three(seed=1), three(size=2999), {**three(), "b": three()["a"]}])
def test_a_partial_of_another_manifest_is_refused(interrupted, name, other):
    options = {"max_shard_size": 50_000} if name == "hf" else {}
    path = interrupted(name, **options)
    before = contents(path.parent)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is not mixed with this one"):
            save(path, other, resume=True, overwrite=overwrite, **options)
    assert contents(path.parent) == before
    save(path, three(), resume=True, **options)
    assert verify(path, three())


def test_another_shard_size_is_refused(interrupted):
    path = interrupted("hf", max_shard_size=50_000)
    with pytest.raises(ValueError, match="is not mixed with this one"):
        save(path, three(), max_shard_size=10_000, resume=True)


def test_what_is_behind_the_end_of_a_partial_goes(interrupted):
    path = interrupted()
    with open(path.with_name(path.name + ".partial"), "ab") as file:
        file.write(bytes(200_000))
    save(path, three(), resume=True)
    assert verify(path, three())


@pytest.mark.parametrize("journal", [b"", b"{", b"[]", b"{}", b'{"identity": 3, "done": 5}', b"\xff", None])
def test_a_partial_without_a_journal_is_refused(interrupted, journal):
    path = interrupted()
    at = path.with_name(path.name + ".journal")
    at.unlink() if journal is None else at.write_bytes(journal)
    with pytest.raises(ValueError, match="is not mixed with this one"):
        save(path, three(), resume=True)


@pytest.mark.parametrize("done", ["10000000000", "5", "-5", '"x"', "1.5", "null"])
def test_a_journal_that_lies_is_not_believed(interrupted, done):
    path = interrupted()
    at = path.with_name(path.name + ".journal")
    with open(at, "a") as file:
        file.write(f'{{"done": {done}}}\n')
    save(path, three(), resume=True)
    assert verify(path, three())


def test_resume_without_anything_to_resume(tmp_path):
    save(tmp_path / "m.safetensors", three(), resume=True)
    stamp = (tmp_path / "m.safetensors").stat().st_mtime_ns
    save(tmp_path / "m.safetensors", three(), resume=True)  # complete: nothing to do
    assert (tmp_path / "m.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError):
        save(tmp_path / "m.safetensors", three(seed=1), resume=True)
    raw = bytearray((tmp_path / "m.safetensors").read_bytes())
    raw[-1] ^= 1  # trained, say
    (tmp_path / "m.safetensors").write_bytes(raw)
    with pytest.raises(FileExistsError):
        save(tmp_path / "m.safetensors", three(), resume=True)

"""`fastinit.cuda` against a driver in the place of CUDA's: streams, devices, caches, errors."""

import gc
import json
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from host.stand_in import OnDevice, StandIn

import fastinit as fi
import fastinit.cuda
from fastinit.cli_tables import cuda_rows
from fastinit.cuda import cache, compiling, driver, queue
from fastinit.questions import region_of, write_region


@pytest.fixture
def device(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    driver.use(StandIn())
    yield driver.installed()
    gc.collect()
    driver.use(None)


R = fi.recipe("normal", (5, 6), seed=0, name="r")


def out(shape=(5, 6), dtype=np.float32, **given):
    return OnDevice(np.zeros(shape, dtype), **given)


# ---- streams ---------------------------------------------------------------------------------------------------


class Protocol:
    def __cuda_stream__(self):
        return (0, 77)


@pytest.mark.parametrize(
    ("stream", "number"),
    [(5, 5), (0, 0), (Protocol(), 77), (type("T", (), {"cuda_stream": 8})(), 8), (type("C", (), {"ptr": 9})(), 9),
     (type("N", (), {"handle": type("V", (), {"value": None})()})(), 0)],
)  # fmt: skip
def test_streams_of_any_library(device, stream, number):
    fi.cuda.fill(out(), R, stream=stream)
    assert [entry[3] for entry in device.log if entry[0] == "launch"] == [number]


def test_the_streams_that_are_used_without_one(device, monkeypatch):
    fi.cuda.fill(out(), R)
    fi.cuda.fill(out(stream=1), R)
    fi.cuda.fill(out(stream=44), R)
    library = type(sys)("cupy")
    library.cuda = type("cuda", (), {"get_current_stream": staticmethod(lambda: type("S", (), {"ptr": 6}))})
    monkeypatch.setitem(sys.modules, "cupy", library)
    theirs = type("ndarray", (OnDevice,), {"__module__": "cupy"})(np.zeros((5, 6), np.float32))
    fi.cuda.fill(theirs, R)
    assert [entry[3] for entry in device.log if entry[0] == "launch"] == [0, 1, 44, 6]


@pytest.mark.parametrize("stream", ["s", 1.5, True, object()])
def test_what_is_no_stream(device, stream):
    with pytest.raises(TypeError, match="a stream is a number, or has __cuda_stream__, not"):
        fi.cuda.fill(out(), R, stream=stream)


def test_all_of_a_fill_goes_to_its_stream_and_device(device):
    """Tables and literals, too; and memory is given back there."""
    recipe = fi.stack([fi.literal(np.arange(6, dtype=np.float32)), R.part(2)]).part(np.s_[::-1])
    array = out((2, 6))
    device.kinds[array.array.ctypes.data] = ("device", 1)
    fi.cuda.fill(array, recipe, stream=12)
    assert (array.array == recipe[...]).all()
    gc.collect()
    kinds = {entry[0] for entry in device.log}
    assert {"launch", "allocate", "free"} <= kinds
    assert not device.allocated
    assert all(entry[2:] == (1, 12) for entry in device.log if entry[0] == "launch")
    assert all(entry[-1] == 12 for entry in device.log if entry[0] in ("allocate", "free"))
    assert device.stack == []


def test_tables_are_sent_once_for_a_stack(device):
    """Gathered rows of many tensors that are alike: one launch for each, and one for the rows."""
    stack = fi.stack([fi.recipe("normal", (9, 8), seed=0, name=str(k)) for k in range(20)], axis=1)
    recipe = fi.concatenate([stack.part(np.s_[k]).reshape(1, 20, 8) for k in (7, 0, 3)])
    array = out((3, 20, 8))
    fi.cuda.fill(array, recipe)
    assert (array.array == recipe[...]).all()
    array = out((9, 20, 8))
    with device.on(0):
        memory = fi.cuda.Memory.at(
            queue.Queue(device, device.devices()[0], 0), array.array.ctypes.data, (9, 20, 8), array.array.strides,
            np.dtype(np.float32), array,
        )  # fmt: skip
        device.log.clear()
        rows = np.array([8, 1, 1, 2, 7, 0, 3, 5, 4])
        write_region(stack, region_of(stack), memory, rows)
    assert (array.array == stack.take(rows)).all()
    assert [entry[1] for entry in device.log if entry[0] == "launch"] == ["upload", *["fill_plan"] * 20]


def test_gathered_elements_of_one_axis(device):
    """As DTensor's shards ask for them."""
    recipe, rows = fi.recipe("normal", 50, seed=0, name="v"), np.array([7, 7, 0, 49])
    array = np.zeros(4, np.float32)
    with device.on(0):
        address = array.__array_interface__["data"][0]
        memory = fi.cuda.Memory.at(queue.Queue(device, device.devices()[0], 0), address, (4,), (4,), array.dtype, array)
        write_region(recipe, region_of(recipe), memory, rows)
    assert (array == recipe.take(rows)).all()


@pytest.mark.parametrize("kind", ["normal", "orthogonal", "eye"])
def test_steps_along_an_axis_of_one_position_do_not_matter(device, kind):
    array = np.lib.stride_tricks.as_strided(np.zeros(6, np.float32), (1, 6), (3, 4))
    recipe = fi.recipe(kind, (1, 6), seed=0)
    stacked = fi.stack([recipe.part(0), fi.literal(recipe[0])])
    fi.cuda.fill(OnDevice(array), recipe)
    assert (array == recipe[...]).all()
    fi.cuda.fill(OnDevice(array), stacked.part(np.s_[1:]))
    assert (array == recipe[...]).all()


# ---- what is refused -------------------------------------------------------------------------------------------


def refused(array, recipe=R, error=TypeError, **given):
    with pytest.raises(error) as caught:
        fi.cuda.fill(array, recipe, **given)
    assert "\n" not in str(caught.value)
    target = getattr(array, "array", None)
    if isinstance(target, np.ndarray):
        assert not target.view(f"u{target.itemsize}").any(), "something has been written"
    return str(caught.value)


def test_memory_that_is_refused(device):
    assert "not list" in refused([1.0])
    assert "in the CPU's memory: recipe.fill(out) fills it" in refused(np.zeros((5, 6), np.float32))
    read_only = np.zeros((5, 6), np.float32)
    read_only.flags.writeable = False
    assert "read-only" in refused(OnDevice(read_only), error=ValueError)
    assert "dtype float64, but the recipe has dtype float32" in refused(out(dtype=np.float64))
    assert "shape (5, 5)" in refused(out((5, 5)), error=ValueError)
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(10, np.float32), (5, 6), (4, 4))
    assert "overlaps itself" in refused(OnDevice(overlapping), error=ValueError)
    unaligned = np.zeros(124, np.uint8)[1:121].view(np.float32).reshape(5, 6)
    q = fi.recipe("orthogonal", (5, 6), seed=0)
    for recipe in (R, q, fi.concatenate([R.part(np.s_[:3]), q.part(np.s_[3:])])):
        with pytest.raises(ValueError, match="not aligned") as caught:
            fi.cuda.fill(OnDevice(unaligned), recipe)
        assert not hasattr(caught.value, "__notes__"), "nothing has been written"
        assert not unaligned.any()
    masked = out()
    masked.__cuda_array_interface__["mask"] = masked
    assert "masked" in refused(masked)
    theirs = type("ArrayImpl", (OnDevice,), {"__module__": "jaxlib._jax"})(np.zeros((5, 6), np.float32))
    assert "a jax.Array cannot be changed" in refused(theirs)
    for kind in ("pinned", "managed"):
        array = out()
        device.kinds[array.array.ctypes.data] = (kind, 0)
        assert f"out is {kind} memory" in refused(array)
    assert not any(entry[0] == "launch" for entry in device.log)


def test_devices_and_streams_that_do_not_fit(device):
    array = out()
    device.kinds[array.array.ctypes.data] = ("device", 1)
    device.streams[99] = 0
    assert "the stream is of CUDA device 0, but out is on device 1" in refused(array, error=ValueError, stream=99)
    library = type(sys)("cupy")
    library.cuda = type("cuda", (), {"get_current_stream": staticmethod(lambda: type("S", (), {"ptr": 99}))})
    with pytest.MonkeyPatch.context() as patch:  # CuPy's current stream is that of its current device
        patch.setitem(sys.modules, "cupy", library)
        theirs = type("ndarray", (OnDevice,), {"__module__": "cupy"})(array.array)
        said = refused(theirs, error=ValueError)
        assert "the current stream is of CUDA device 0, but out is on device 1" in said
    device.now = 0
    assert "out is on CUDA device 1, but the current device is 0" in refused(array, error=ValueError)
    device.now = 1
    fi.cuda.fill(array, R)
    assert (array.array == R[...]).all()


def test_recipes_that_are_refused(device):
    assert "a Recipe is needed" in refused(out(), "normal")
    with pytest.raises(IndexError):
        fi.cuda.fill(out(), R, index=7)


def test_devices_that_are_too_old_or_new(device):
    device.capabilities = (61, 75)
    assert "compute capability 6.1; NVRTC 13.5 and these kernels need 7.5 or more" in refused(out(), error=RuntimeError)
    driver.use(StandIn())
    device = driver.installed()
    device.capabilities = (121, 130)
    fi.cuda.fill(out(), R)
    assert [entry[2:] for entry in device.log if entry[0] == "compile"] == [("--gpu-architecture=compute_120", False)]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("NO_DEVICE", RuntimeError, "there is no CUDA device here"),
        ("OUT_OF_MEMORY", MemoryError, "the CUDA device is out of memory"),
        ("NOT_INITIALIZED", RuntimeError, "forked from one that uses CUDA"),
        ("UNSUPPORTED_PTX_VERSION", RuntimeError, "the driver is too old"),
        ("ILLEGAL_ADDRESS", RuntimeError, "a kernel that was launched earlier failed: ILLEGAL_ADDRESS"),
        ("UNKNOWN", RuntimeError, "CUDA failed: UNKNOWN (cuLaunchKernel)"),
    ],
)
def test_what_the_driver_says_in_one_line(status, error, said):
    class Status(int):
        name = f"CUDA_ERROR_{status}"

    nvidia = driver.Nvidia()
    nvidia._started = True
    nvidia._cu = type("cu", (), {"cuLaunchKernel": staticmethod(lambda: (Status(1),))})
    with pytest.raises(error) as caught:
        nvidia._call("cuLaunchKernel")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_fails_on_the_way_is_told(device, monkeypatch):
    def launch(*_):
        raise MemoryError("the CUDA device is out of memory")

    monkeypatch.setattr(device, "launch", launch)
    with pytest.raises(MemoryError) as caught:
        fi.cuda.fill(out(), R)
    assert caught.value.__notes__ == ["fastinit: stopped before the end; the buffer is incomplete"]
    assert device.stack == []


def test_nothing_to_fill_needs_no_device(device):
    array = out((0, 6))
    assert fi.cuda.fill(array, R, index=np.s_[:0]) is array
    assert device.log == []


# ---- DLPack ----------------------------------------------------------------------------------------------------


class Dlpack:
    """An array of the host's, exported by NumPy, that says it is on a CUDA device."""

    def __init__(self, array, kind=2):
        self.array, self.kind = array, kind

    def __dlpack_device__(self):
        return (self.kind, 0)

    def __dlpack__(self, *, stream=None, max_version=None):
        assert stream == -1
        return self.array.__dlpack__(max_version=max_version)


def test_arrays_by_dlpack(device):
    array = Dlpack(np.zeros((6, 5), np.float32).T)
    fi.cuda.fill(array, R)
    assert (array.array == R[...]).all()
    assert "dtype float64" in refused(Dlpack(np.zeros((5, 6))))
    assert "dtype none of float32" in refused(Dlpack(np.zeros((5, 6), np.int32)))
    assert "pinned memory of the CPU" in refused(Dlpack(np.zeros((5, 6), np.float32), 3))
    assert "managed" in refused(Dlpack(np.zeros((5, 6), np.float32), 13))
    read_only = np.zeros((5, 6), np.float32)
    read_only.flags.writeable = False
    refused(Dlpack(read_only), error=(ValueError, BufferError))


def test_bfloat16_as_uint16(device):
    recipe = fi.recipe("normal", (5, 6), dtype="bfloat16", seed=0, name="b")
    array = out(dtype=np.uint16)
    fi.cuda.fill(array, recipe)
    assert (array.array == recipe[...].view(np.uint16)).all()


# ---- kernels, compiled once ------------------------------------------------------------------------------------


def compiled(device):
    return [entry[1] for entry in device.log if entry[0] == "compile"]


def test_kernels_are_loaded_once_and_kept_on_disk(device):
    for _ in range(3):
        fi.cuda.fill(out(), R)
    assert compiled(device) == ["cuda.cu"]
    assert sum(entry[0] == "load" for entry in device.log) == 1
    assert len(cache.entries()) == 1
    driver.use(StandIn())  # another process, as it were
    fi.cuda.fill(out(), R)
    assert compiled(driver.installed()) == []


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 40, None])
def test_damaged_entries_are_made_anew(device, damage):
    fi.cuda.fill(out(), R)
    (entry,) = cache.entries()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1] if damage is None else damage)
    driver.use(StandIn())
    array = out()
    fi.cuda.fill(array, R)
    assert (array.array == R[...]).all()
    assert compiled(driver.installed()) == ["cuda.cu"]
    assert entry.read_bytes() == whole


def test_the_key_tells_sources_architectures_and_compilers_apart(device, monkeypatch):
    def entries_after(**given):
        other = StandIn()
        for name, value in given.items():
            monkeypatch.setattr(other, name, value)
        driver.use(other)
        fi.cuda.fill(out(), R)
        return len(cache.entries())

    assert entries_after() == 1
    assert entries_after(capabilities=(86, 75)) == 2
    assert entries_after(compiler_version=lambda: (13, 6)) == 3
    monkeypatch.setattr(compiling, "source_hash", lambda: "another")
    assert entries_after() == 4


def test_the_hash_is_of_all_sources():
    """Every file that a kernel includes is in the list, and nothing else."""
    found, left = set(), ["cuda.cu", "cuda_copy.cu", "cuda_matrix.cu"]
    while left:
        name = left.pop()
        if name in found or not (compiling.CSRC / name).exists():
            continue
        found.add(name)
        for line in (compiling.CSRC / name).read_text().splitlines():
            if line.startswith("#include"):
                left.append(line.split()[1].strip('"<>') if '"' in line else f"nvrtc/{line.split()[1].strip('<>')}")
    assert found - {"round.h", "nvrtc/math.h", "nvrtc/string.h"} == set(compiling.SOURCES)


def test_concurrent_writers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = os.urandom(1 << 20)
    wrong = []

    def work():
        for k in range(20):
            if cache.cached(f"key{k % 3}", lambda: made) != made:
                wrong.append(k)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache.entries()) == 3
    assert not list(cache.folder().glob("*.part"))


def test_a_cache_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "fastinit").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="compiled kernels are not kept"):
        assert cache.cached("key", lambda: b"made") == b"made"


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.folder() is None
        assert cache.cached("key", lambda: b"made") == b"made"
        assert cache.entries() == []


# ---- memory ----------------------------------------------------------------------------------------------------


def test_memory_is_never_read(device):
    """Addresses that nothing is at: whatever NumPy reads of them would end the process."""
    with device.on(0):
        made = fi.cuda.Memory.at(
            queue.Queue(device, device.devices()[0], 0), 4096, (3, 4), (16, 4), np.dtype(np.float32), None
        )
        assert made[1, 2].shape == ()
        assert made[1, 2].address == 4096 + 24
        assert made[..., None, 1:3].shape == (3, 1, 2)
        assert made.reshape(-1).shape == (12,)
        assert made[:, ::-1].strides == (16, -4)
        assert made.transpose((1, 0)).reshape(2, 2, 3).shape == (2, 2, 3)
        assert made[:, :2].reshape(3, -1, 2).address == 4096
        repr(made)
        for read in (np.asarray, list, float, np.sum):
            with pytest.raises(TypeError):
                read(made)


def test_another_module_is_not_needed_to_import_it():
    """NVIDIA's bindings are asked for when something is filled, and missed in one line."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cuda': raise ModuleNotFoundError('missing', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import numpy as np, fastinit as fi, fastinit.cuda\n"
        "class A: __cuda_array_interface__ = dict(version=3, shape=(4,), typestr='<f4', data=(4096, False))\n"
        "try: fi.cuda.fill(A(), fi.recipe('normal', 4, seed=0))\n"
        "except ImportError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("fastinit.cuda needs cuda.bindings: pip install 'fastinit-weights[cuda]'")
    assert said.count("\n") == 1


# ---- what is said of it ----------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    fi.cuda.why_unavailable.cache_clear()
    yield
    fi.cuda.why_unavailable.cache_clear()


def test_what_is_there(device, fresh):
    fi.cuda.fill(out(), R)
    found = fi.cuda.describe()
    assert found["devices"] == [
        {"name": "stand-in 0", "compute_capability": "9.0"},
        {"name": "stand-in 1", "compute_capability": "7.5"},
    ]
    assert (found["driver"], found["nvrtc"], found["missing"], found["kernels"]) == ("13.0", "13.5", None, 1)
    assert found["cache"] == str(cache.folder())
    assert cuda_rows(found)["CUDA devices"] == "stand-in 0 (9.0), stand-in 1 (7.5)"
    assert "CUDA missing" not in cuda_rows(found)
    json.dumps(found, allow_nan=False)


def test_what_is_missing(device, fresh, monkeypatch):
    def none():
        raise RuntimeError("no CUDA driver was found")

    monkeypatch.setattr(device, "devices", none)
    found = fi.cuda.describe()
    assert (found["devices"], found["nvrtc"], found["missing"]) == ([], "13.5", "no CUDA driver was found")
    assert cuda_rows(found)["CUDA missing"] == "no CUDA driver was found"


def test_the_command_says_it(fresh):
    said = subprocess.run([sys.executable, "-m", "fastinit", "info"], capture_output=True, text=True, check=True)
    assert "CUDA devices:" in said.stdout
    assert said.stderr == ""

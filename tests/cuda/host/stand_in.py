"""A driver in the place of CUDA's whose device is this CPU: kernels are compiled by g++, memory is the host's."""

import contextlib
import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from fastinit.cuda.driver import Device

HERE = Path(__file__).parent
FLAGS = [
    "-std=c++20",
    "-O2",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-unused-function",
    "-fPIC",
    "-shared",
]
KERNELS = {"cuda.cu": ("fill_run", "fill_plan"), "cuda_copy.cu": ("upload", "copy"), "cuda_matrix.cu": ("stage",)}
#: Files whose threads wait for each other.
WITH_BARRIERS = ("cuda_matrix.cu",)
# : Blocks at most, so that threads make several units each.
BLOCKS = 7


def compile_for_host(file, options, compiler=None):
    """A shared library of a file's kernels, with NVRTC's options for macros and headers."""
    command = [compiler or os.environ.get("CXX", "g++"), *FLAGS, f"-I{HERE}"]
    command += [option.replace("--include-path=", "-I") for option in options if option.startswith("--include-path")
                and not option.endswith("nvrtc")]  # fmt: skip
    command += [option.replace("--define-macro=", "-D") for option in options if option.startswith("--define-macro")]
    command += [f'-DSOURCE="{file}"', f"-DKERNELS={' '.join(f'KERNEL({name})' for name in KERNELS[file])}"]
    command += ["-DBARRIERS"] if file in WITH_BARRIERS else []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        subprocess.run([*command, str(HERE / "launch.cpp"), "-o", str(made)], check=True)
        return made.read_bytes()


class StandIn:
    """What `fastinit.cuda.driver.Driver` lists, with two devices; `log` has what was asked of it."""

    built: ClassVar = {}  # by all test files of a process: compiling takes a second

    def __init__(self):
        self.log = []
        self.allocated = {}
        self.kinds = {}  # by address: other memory than device 0's
        self.streams = {}
        self.now = None
        self.stack = []
        self.capabilities = (90, 75)
        self.multiprocessors = 1
        self.libraries = []
        self.own_streams = []  # with their devices
        self.capturing = set()  # streams whose launches go into a graph

    def version(self):
        return (13, 0)

    def devices(self):
        return [
            Device(n, f"stand-in {n}", capability, self.multiprocessors)
            for n, capability in enumerate(self.capabilities)
        ]

    def current(self):
        return self.stack[-1] if self.stack else self.now

    def device_of(self, address):
        return self.kinds.get(address, ("device", 0))

    def device_of_stream(self, stream):
        return self.streams.get(stream)

    @contextlib.contextmanager
    def on(self, device):
        self.stack.append(device)
        try:
            yield
        finally:
            self.stack.pop()

    def load(self, binary, names):
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(binary)
            file.flush()
            library = ctypes.CDLL(file.name)
        self.libraries.append(library)
        self.log.append(("load", tuple(names)))
        return {name: (library, name) for name in names}

    def launch(self, kernel, blocks, threads, arguments, stream):
        assert self.stack, "a launch without a current device"
        library, name = kernel
        # as on a device, each argument at a multiple of 16
        memory = [aligned(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(memory))(*(array.ctypes.data for array in memory))
        self.log.append(("launch", name, self.stack[-1], stream))
        assert library.launch(name.encode(), min(blocks, BLOCKS), threads, pointers) == 0

    def allocate(self, nbytes, stream):
        array = np.full(nbytes, 0xA5, np.uint8)
        self.allocated[array.ctypes.data] = array
        self.log.append(("allocate", nbytes, stream))
        return array.ctypes.data

    def free(self, address, stream):
        del self.allocated[address]
        self.log.append(("free", stream))

    def allocate_now(self, nbytes):
        array = np.full(nbytes + 64, 0xA5, np.uint8)
        address = array.ctypes.data + -array.ctypes.data % 64
        self.allocated[address] = array
        self.log.append(("allocate_now", nbytes))
        return address

    def free_now(self, address):
        del self.allocated[address]
        self.log.append(("free_now",))

    def new_stream(self):
        self.own_streams.append((1000 + len(self.own_streams), self.stack[-1]))
        return self.own_streams[-1][0]

    def is_capturing(self, stream):
        return stream in self.capturing

    def record(self, stream):
        self.log.append(("record", stream))
        return (len(self.log), stream)

    def wait(self, stream, event):
        self.log.append(("wait", stream, event[1]))

    def forget(self, event):
        self.log.append(("forget", event[1]))

    def compiler_version(self):
        return (13, 5)

    def architectures(self):
        return [75, 80, 86, 90, 100, 120]

    def compile(self, source, name, options, *, binary):
        self.log.append(("compile", name, options[0], binary))
        key = (name, *options[1:])
        if key not in self.built:
            self.built[key] = compile_for_host(name, options)
        return self.built[key]


def aligned(argument):
    array = np.zeros(len(argument) + 16, np.uint8)
    start = -array.ctypes.data % 16
    array[start : start + len(argument)] = np.frombuffer(argument, np.uint8)
    return array[start:]


class OnDevice:
    """An array of the host's that says that it is on a CUDA device."""

    def __init__(self, array, stream=None):
        self.array = array
        typestr = {"V": "<V2", "f": f"<f{array.itemsize}", "u": "<u2"}[array.dtype.kind]
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "strides": array.strides,
            "typestr": typestr,
            "data": (array.__array_interface__["data"][0], not array.flags.writeable),
            "stream": stream,
        }

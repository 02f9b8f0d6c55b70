"""The one door to CUDA: NVIDIA's driver and NVRTC, by NVIDIA's bindings for Python. Tests put another one in its place.

`fastinit.cuda` needs what `Driver` lists, no more. Addresses, streams and kernels are integers and opaque handles here.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ..extras import require

_TOO_OLD = "the driver is too old for what NVRTC compiles: update it, or install an older NVRTC"


class Device(NamedTuple):
    """A CUDA device: its number, its name, its compute capability as 10 * major + minor, its multiprocessors."""

    number: int
    name: str
    capability: int
    multiprocessors: int


class Driver(Protocol):
    """What a device's fill asks of CUDA."""

    def __hash__(self) -> int:
        """That of an object: what has been loaded is remembered by it."""

    def version(self) -> tuple[int, int]:
        """The version of CUDA that the driver knows."""

    def devices(self) -> Sequence[Device]:
        """All devices that are visible; RuntimeError without a driver."""

    def current(self) -> int | None:
        """The number of the calling thread's current device; None where it has none yet."""

    def device_of(self, address: int) -> tuple[str, int]:
        """What memory an address is of, "device", "managed" or "pinned", and of which device; ValueError for others."""

    def device_of_stream(self, stream: int) -> int | None:
        """The device of a stream; None for the default streams, which every device has."""

    def on(self, device: int) -> contextlib.AbstractContextManager[None]:
        """Makes a device the current one meanwhile; all calls below are made so."""

    def load(self, binary: bytes, names: Sequence[str]) -> dict[str, Any]:
        """The kernels of those names in a compiled module."""

    def launch(self, kernel: Any, blocks: int, threads: int, arguments: Sequence[bytes], stream: int) -> None:
        """Launches a kernel; asynchronous."""

    def allocate(self, nbytes: int, stream: int) -> int:
        """Memory of the current device, in the order of the stream."""

    def free(self, address: int, stream: int) -> None:
        """Gives it back, in the order of the stream."""

    def allocate_now(self, nbytes: int) -> int:
        """Memory of the current device for any stream."""

    def free_now(self, address: int) -> None:
        """Gives it back once all that the device was told to do before is done."""

    def new_stream(self) -> int:
        """A stream of the current device, which waits for no other one; it is there until the process ends."""

    def is_capturing(self, stream: int) -> bool:
        """Whether what is sent to a stream goes into a CUDA graph, and is not done now."""

    def record(self, stream: int) -> Any:
        """An event: the place in the stream's order that has been reached by what was sent to it so far."""

    def wait(self, stream: int, event: Any) -> None:
        """What is sent to a stream from here on is done after an event."""

    def forget(self, event: Any) -> None:
        """No call will name the event any more."""

    def compiler_version(self) -> tuple[int, int]:
        """NVRTC's version; ImportError without NVRTC."""

    def architectures(self) -> Sequence[int]:
        """The compute capabilities that NVRTC compiles for, ascending."""

    def compile(self, source: str, name: str, options: Sequence[str], *, binary: bool) -> bytes:
        """A module compiled by NVRTC, to machine code or to PTX."""


class Nvidia:
    """CUDA's own driver and compiler."""

    def __init__(self) -> None:
        require("cuda.bindings", "cuda")
        from cuda.bindings import driver, nvrtc

        self._cu, self._nvrtc = driver, nvrtc
        self._contexts: dict[int, Any] = {}
        self._started = False

    # ---- the driver ----------------------------------------------------------------------------------------

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver; its result, or an exception of one line."""
        if not self._started and name != "cuInit":
            self._start()
        status, *results = getattr(self._cu, name)(*arguments)
        if int(status):
            raise self._error(name, status)
        return results[0] if len(results) == 1 else results

    def _start(self) -> None:
        try:
            self._call("cuInit", 0)
        except RuntimeError as error:
            if type(error) is RuntimeError:
                raise
            raise RuntimeError("no CUDA driver was found: NVIDIA's display driver is not installed") from None
        self._started = True

    def _error(self, doing: str, status: Any) -> Exception:
        name = getattr(status, "name", str(status)).removeprefix("CUDA_ERROR_")
        known = {
            "NO_DEVICE": "there is no CUDA device here",
            "OUT_OF_MEMORY": "the CUDA device is out of memory",
            "NOT_INITIALIZED": "this process was forked from one that uses CUDA, which works in spawned ones only",
            **dict.fromkeys(
                ("INVALID_IMAGE", "INVALID_SOURCE", "UNSUPPORTED_PTX_VERSION", "NO_BINARY_FOR_GPU"), _TOO_OLD
            ),
            "SYSTEM_DRIVER_MISMATCH": "the CUDA driver and its library are of two versions: restart the machine",
            "STREAM_CAPTURE_UNSUPPORTED": "this cannot be captured in a CUDA graph: fill once before the capture",
        }
        text = known.get(name, f"CUDA failed: {name} ({doing})")
        if name in ("ILLEGAL_ADDRESS", "LAUNCH_FAILED", "MISALIGNED_ADDRESS", "ASSERT", "ILLEGAL_INSTRUCTION"):
            text = f"a kernel that was launched earlier failed: {name}; what it was to write is incomplete"
        return MemoryError(text) if name == "OUT_OF_MEMORY" else RuntimeError(text)

    def version(self) -> tuple[int, int]:
        number = int(self._call("cuDriverGetVersion"))
        return number // 1000, number % 1000 // 10

    def devices(self) -> Sequence[Device]:
        return [self._device(number) for number in range(int(self._call("cuDeviceGetCount")))]

    def _device(self, number: int) -> Device:
        attribute = self._cu.CUdevice_attribute
        handle = self._call("cuDeviceGet", number)
        major, minor, processors = (
            int(self._call("cuDeviceGetAttribute", getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), handle))
            for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "MULTIPROCESSOR_COUNT")
        )
        name = self._call("cuDeviceGetName", 256, handle).split(b"\0")[0].decode()
        return Device(number, name, 10 * major + minor, processors)

    def current(self) -> int | None:
        if not int(self._call("cuCtxGetCurrent")):
            return None
        return int(self._call("cuCtxGetDevice"))

    def device_of(self, address: int) -> tuple[str, int]:
        attribute = self._cu.CUpointer_attribute
        try:
            kind = int(self._call("cuPointerGetAttribute", attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address))
            device = int(self._call("cuPointerGetAttribute", attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address))
            managed = int(self._call("cuPointerGetAttribute", attribute.CU_POINTER_ATTRIBUTE_IS_MANAGED, address))
        except RuntimeError as error:
            if "INVALID_VALUE" not in str(error):
                raise
            raise ValueError("out is in memory that CUDA does not know") from None
        return ("managed" if managed else "pinned" if kind == 1 else "device"), device

    def device_of_stream(self, stream: int) -> int | None:
        if stream in (0, 1, 2):
            return None
        context = self._call("cuStreamGetCtx", stream)
        context = context[0] if isinstance(context, list) else context
        self._call("cuCtxPushCurrent", context)
        try:
            return int(self._call("cuCtxGetDevice"))
        finally:
            self._call("cuCtxPopCurrent")

    @contextlib.contextmanager
    def on(self, device: int) -> Iterator[None]:
        if device not in self._contexts:  # the primary context: the one that all frameworks share
            self._contexts[device] = self._call("cuDevicePrimaryCtxRetain", self._call("cuDeviceGet", device))
        self._call("cuCtxPushCurrent", self._contexts[device])
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def load(self, binary: bytes, names: Sequence[str]) -> dict[str, Any]:
        with self._beside_captures():
            module = self._call("cuModuleLoadData", binary)
            return {name: self._call("cuModuleGetFunction", module, name.encode()) for name in names}

    @contextlib.contextmanager
    def _beside_captures(self) -> Iterator[None]:
        """A graph's capture elsewhere forbids what may synchronize, unless it is said that it does not matter."""
        relaxed = self._cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        before = self._call("cuThreadExchangeStreamCaptureMode", relaxed)
        try:
            yield
        finally:
            self._call("cuThreadExchangeStreamCaptureMode", before)

    def launch(self, kernel: Any, blocks: int, threads: int, arguments: Sequence[bytes], stream: int) -> None:
        memory = [ctypes.create_string_buffer(argument, len(argument)) for argument in arguments]
        pointers = (ctypes.c_void_p * len(memory))(*map(ctypes.addressof, memory))
        self._call("cuLaunchKernel", kernel, blocks, 1, 1, threads, 1, 1, 0, stream, ctypes.addressof(pointers), 0)

    def allocate(self, nbytes: int, stream: int) -> int:
        return int(self._call("cuMemAllocAsync", nbytes, stream))

    def free(self, address: int, stream: int) -> None:
        self._call("cuMemFreeAsync", address, stream)

    def allocate_now(self, nbytes: int) -> int:
        return int(self._call("cuMemAlloc", nbytes))

    def free_now(self, address: int) -> None:
        self._call("cuMemFree", address)

    def new_stream(self) -> int:
        with self._beside_captures():
            return int(self._call("cuStreamCreate", int(self._cu.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def is_capturing(self, stream: int) -> bool:
        return bool(int(self._call("cuStreamIsCapturing", stream)))

    def record(self, stream: int) -> Any:
        event = self._call("cuEventCreate", int(self._cu.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        self._call("cuEventRecord", event, stream)
        return event

    def wait(self, stream: int, event: Any) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def forget(self, event: Any) -> None:
        self._call("cuEventDestroy", event)

    # ---- NVRTC ---------------------------------------------------------------------------------------------

    def compiler_version(self) -> tuple[int, int]:
        try:
            status, major, minor = self._nvrtc.nvrtcVersion()
        except RuntimeError:
            raise ImportError(
                "fastinit.cuda needs NVRTC: pip install 'fastinit-weights[cuda]', or nvidia-cuda-nvrtc itself"
            ) from None
        self._compiled("nvrtcVersion", status)
        return int(major), int(minor)

    def architectures(self) -> Sequence[int]:
        status, found = self._nvrtc.nvrtcGetSupportedArchs()
        self._compiled("nvrtcGetSupportedArchs", status)
        return sorted(map(int, found))

    def compile(self, source: str, name: str, options: Sequence[str], *, binary: bool) -> bytes:
        nvrtc = self._nvrtc
        status, program = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), 0, [], [])
        self._compiled("nvrtcCreateProgram", status)
        try:
            (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
            if int(status):
                log = self._text(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
                raise RuntimeError(f"NVRTC does not compile {name}: {log.rstrip(bytes(1)).decode().strip()}")
            if binary:
                return self._text(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
            return self._text(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
        finally:
            nvrtc.nvrtcDestroyProgram(program)

    def _text(self, program: Any, size_of: Any, get: Any) -> bytes:
        status, size = size_of(program)
        self._compiled(size_of.__name__, status)
        text = bytes(size)
        (status,) = get(program, text)
        self._compiled(get.__name__, status)
        return text

    def _compiled(self, doing: str, status: Any) -> None:
        if int(status):
            raise RuntimeError(f"NVRTC failed: {getattr(status, 'name', status)} ({doing})")


_in_use: Driver | None = None


@functools.lru_cache(maxsize=64)
def device_numbered(driver: Driver, number: int) -> Device:
    """The device of that number."""
    return driver.devices()[number]


def installed() -> Driver:
    """The driver in use: NVIDIA's, unless a test has put another one in its place."""
    global _in_use
    if _in_use is None:
        _in_use = Nvidia()
    return _in_use


def use(other: Driver | None) -> None:
    """Puts another driver in its place; None: NVIDIA's again."""
    global _in_use
    _in_use = other

# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False
"""Pointers and counts for the C core: no tensor shapes, no initializers, no numerics."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
cimport numpy as cnp

import os
import threading

import numpy as np

cnp.import_array()

include "_core.pxi"

_DTYPES = {"float32": FI_FLOAT32, "float64": FI_FLOAT64, "float16": FI_FLOAT16, "bfloat16": FI_BFLOAT16}
_UPDATES = {"set": FI_SET, "add": FI_ADD, "subtract": FI_SUBTRACT}
_DISTRIBUTIONS = {"constant": FI_CONSTANT, "uniform": FI_UNIFORM, "normal": FI_NORMAL,
                  "truncated_normal": FI_TRUNCATED}

cdef const fi_isa *_isa = NULL
cdef uint64_t MAX_SIZE = 1 << 62
cdef unsigned long _main_thread = threading.main_thread().ident


def _after_fork():
    """The thread that forked is the child's main thread."""
    global _main_thread
    _main_thread = PyThread_get_thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
fi_parallel_init()


def compiled_isas():
    """Names of the instruction sets compiled in, best first."""
    cdef int i = 0
    names = []
    while fi_isas_compiled[i] != NULL:
        names.append(fi_isas_compiled[i].name.decode())
        i += 1
    return names


def usable_isas():
    """Those that this CPU runs."""
    cdef int i
    return [name for i, name in enumerate(compiled_isas()) if fi_isa_runs(fi_isas_compiled[i])]


def use_isa(str name):
    """Selects the instruction set of all later fills."""
    global _isa
    _isa = fi_isas_compiled[compiled_isas().index(name)]


def isa():
    """The one in use."""
    return _isa.name.decode()


def openmp_version():
    """OpenMP's version date, 0 without OpenMP."""
    return fi_openmp_version()


#: fills of fewer elements are done by one thread
SERIAL_BELOW = FI_SERIAL_BELOW


def openmp_threads():
    """CPUs that this process may use, at most the calling thread's limit in OpenMP; 0 without OpenMP."""
    return fi_openmp_threads()


cdef class Values:
    """A distribution with its parameters checked and prepared, in a dtype, on a stream."""

    cdef fi_values values

    def __init__(self, str distribution, str dtype, tuple parameters, uint64_t key, uint64_t stream):
        cdef double p[4]
        cdef int i
        for i in range(4):
            p[i] = parameters[i] if i < len(parameters) else 0
        cdef const char *refused = fi_prepare(&self.values, _DISTRIBUTIONS[distribution], _DTYPES[dtype], p, key,
                                              stream)
        if refused != NULL:
            raise ValueError(refused.decode())

    def on_stream(self, uint64_t key, uint64_t stream):
        """The same distribution on another stream."""
        cdef Values other = Values.__new__(Values)
        other.values = self.values
        fi_put_on_stream(&other.values, key, stream)
        return other

    @property
    def bounds(self):
        """Closed interval, exact in the dtype, that no value leaves."""
        return self.values.least, self.values.greatest

    @property
    def dtype(self):
        """The dtype's name."""
        return _name_of(_DTYPES, self.values.dtype)

    @property
    def distribution(self):
        """The distribution's name."""
        return _name_of(_DISTRIBUTIONS, self.values.distribution)

    def packed(self):
        """The bytes that a kernel elsewhere, as on a GPU, gets: `fi_values` of csrc/values.h."""
        return PyBytes_FromStringAndSize(<char *>&self.values, sizeof(fi_values))


def _name_of(names, number):
    return next(name for name, known in names.items() if known == number)


#: sizes of what `Values.packed` and `packed_plan` return
VALUES_BYTES, PLAN_BYTES = <int>sizeof(fi_values), <int>sizeof(fi_plan)


def packed_plan(uint64_t address, uint64_t first_index, axes):
    """A plan for kernels elsewhere: `fi_plan` of csrc/values.h, for memory at that address.

    `axes` as for `fill`, but the positions are the address of a table, or 0.
    """
    cdef fi_plan plan
    cdef int i = 0
    memset(&plan, 0, sizeof(fi_plan))
    plan.first_index = first_index
    plan.out = <char *><uintptr_t>address
    plan.naxes = len(axes)
    if plan.naxes > FI_MAX_AXES:
        raise SystemError("packed_plan: too many axes")
    for count, index_step, byte_step, table in axes:
        plan.axes[i].count, plan.axes[i].index_step, plan.axes[i].byte_step = count, index_step, byte_step
        plan.axes[i].table = <const int64_t *><uintptr_t><uint64_t>table
        i += 1
    return PyBytes_FromStringAndSize(<char *>&plan, sizeof(fi_plan))


# Only the main thread runs signal handlers.
cdef int check_signals(void *context) noexcept with gil:
    return PyErr_CheckSignals()


cdef fi_poll poll_here() noexcept:
    if PyThread_get_thread_ident() == _main_thread:
        return check_signals
    return NULL


cdef int finish(int stopped) except -1:
    """Raises what the signal handler raised, if one stopped the work."""
    if stopped == FI_FORKED:
        raise RuntimeError("a signal handler forked this process while several threads made values: they are not in the "
                           "child, which must start again")
    if stopped == FI_NO_MEMORY:
        raise MemoryError()
    return -1 if stopped else 0


cdef int make_plan(fi_plan *plan, Values values, cnp.ndarray out, uint64_t first_index, axes) except -1:
    plan.first_index = first_index
    plan.out = <char *>cnp.PyArray_DATA(out)
    if cnp.PyArray_ITEMSIZE(out) != <int>fi_item_size(values.values.dtype):
        raise SystemError("fill: the item size does not fit")
    if axes is None:
        if not cnp.PyArray_IS_C_CONTIGUOUS(out):
            raise SystemError("fill: the array needs axes")
        plan.naxes = 1
        plan.axes[0].count = cnp.PyArray_SIZE(out)
        plan.axes[0].index_step = 1
        plan.axes[0].byte_step = cnp.PyArray_ITEMSIZE(out)
        plan.axes[0].table = NULL
        return 0
    plan.naxes = len(axes)
    if plan.naxes > FI_MAX_AXES:
        raise SystemError("fill: too many axes")
    cdef int i = 0
    for count, index_step, byte_step, positions in axes:
        plan.axes[i].count = count
        plan.axes[i].index_step = index_step
        plan.axes[i].byte_step = byte_step
        plan.axes[i].table = NULL if positions is None else <const int64_t *>cnp.PyArray_DATA(positions)
        i += 1
    return 0


def fill(Values values not None, out not None, uint64_t first_index, axes, int threads):
    """Fills `out` from the flat index of its element 0 on.

    `axes` are (count, index step, byte step, positions or None) with the largest byte step first; None where `out` is
    C-contiguous and the flat indices follow each other. Its elements have the size of the dtype. What is no ndarray is memory of
    another device, which has the same done by its own `fill`.
    """
    cdef fi_plan plan
    cdef int stopped
    if not isinstance(out, cnp.ndarray):
        out.fill(values, first_index, [(out.size, 1, out.itemsize, None)] if axes is None else axes)
        return
    make_plan(&plan, values, out, first_index, axes)
    cdef fi_poll poll = poll_here()
    with nogil:
        stopped = fi_run(_isa, &values.values, &plan, threads, poll, NULL)
    finish(stopped)


def fill_each(list values, cnp.ndarray offsets not None, out not None, uint64_t first_index, axes, int threads):
    """Fills several tensors of one dtype by one plan: that of `values[i]` begins `offsets[i]` bytes behind `out`."""
    cdef fi_plan plan
    cdef int stopped
    cdef size_t i, n = len(values)
    cdef Values one
    if n == 0 or cnp.PyArray_TYPE(offsets) != cnp.NPY_INT64 or <size_t>cnp.PyArray_SIZE(offsets) != n:
        raise SystemError("fill_each: an offset for each of the values")
    if not isinstance(out, cnp.ndarray):
        out.fill_each(values, offsets, first_index, axes)
        return
    make_plan(&plan, values[0], out, first_index, axes)
    cdef const int64_t *behind = <const int64_t *>cnp.PyArray_DATA(offsets)
    cdef fi_poll poll = poll_here()
    cdef fi_piece *pieces = <fi_piece *>PyMem_Malloc(n * sizeof(fi_piece))
    if not pieces:
        raise MemoryError()
    try:
        for i in range(n):
            one = values[i]
            pieces[i].values = &one.values
            pieces[i].out = plan.out + behind[i]
        with nogil:
            stopped = fi_run_each(_isa, pieces, n, &plan, threads, poll, NULL)
    finally:
        PyMem_Free(pieces)
    finish(stopped)


def fill_words(cnp.ndarray out not None, uint64_t key, uint64_t low, uint64_t high, int threads):
    """Fills a C-contiguous uint32 array with the words of the blocks from counter (low, high) on."""
    cdef uint32_t *data = <uint32_t *>cnp.PyArray_DATA(out)
    cdef size_t count = cnp.PyArray_SIZE(out)
    cdef int stopped
    cdef fi_poll poll = poll_here()
    with nogil:
        stopped = fi_run_words(_isa, data, count, key, low, high, threads, poll, NULL)
    finish(stopped)


def convert(Values values not None, cnp.ndarray words not None, cnp.ndarray out not None):
    """The elements that given words stand for, where the stream's own would be: for proofs over all words.

    Both arrays C-contiguous; `words` uint32, four for each block, and `out` with room for its elements.
    """
    cdef const uint32_t *data = <const uint32_t *>cnp.PyArray_DATA(words)
    cdef size_t blocks = cnp.PyArray_SIZE(words) // 4
    cdef void *to = cnp.PyArray_DATA(out)
    cdef size_t block_size = 8 if fi_item_size(values.values.dtype) == 2 else 16
    if <size_t>cnp.PyArray_NBYTES(out) < blocks * block_size:
        raise SystemError("convert: out is too small")
    with nogil:
        _isa.convert(&values.values, data, blocks, to)


include "_steps.pxi"


cdef class DefaultFloatEnvironment:
    """Context manager: default rounding mode and denormals in this thread."""

    cdef fi_fpenv saved

    def __enter__(self):
        self.saved = fi_fpenv_default()

    def __exit__(self, *exception):
        fi_fpenv_restore(self.saved)


# ---- for other Cython code: see _kernels.pxd -----------------------------------------------------------------

assert (FLOAT32, FLOAT64, FLOAT16, BFLOAT16) == (FI_FLOAT32, FI_FLOAT64, FI_FLOAT16, FI_BFLOAT16)
assert (CONSTANT, UNIFORM, NORMAL, TRUNCATED_NORMAL) == (FI_CONSTANT, FI_UNIFORM, FI_NORMAL, FI_TRUNCATED)


cdef const char *fill_range(void *out, size_t count, uint64_t first, int dtype, int distribution,
                            const double *parameters, uint64_t key, uint64_t stream, int threads) noexcept nogil:
    cdef fi_values values
    cdef fi_plan plan
    if not FLOAT32 <= dtype <= BFLOAT16:
        return b"unknown dtype"
    if not CONSTANT <= distribution <= TRUNCATED_NORMAL:
        return b"unknown distribution"
    if first >= MAX_SIZE or count > MAX_SIZE - first:
        return b"elements beyond 2**62"
    cdef const char *refused = fi_prepare(&values, <fi_distribution>distribution, <fi_dtype>dtype, parameters, key,
                                          stream)
    if refused != NULL or count == 0:
        return refused
    plan.first_index = first
    plan.out = <char *>out
    plan.naxes = 1
    plan.axes[0].count = count
    plan.axes[0].index_step = 1
    plan.axes[0].byte_step = fi_item_size(values.dtype)
    plan.axes[0].table = NULL
    fi_run(_isa, &values, &plan, threads if threads > 1 else 1, NULL, NULL)
    return NULL


cdef int philox4x32(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high) noexcept nogil:
    return fi_run_words(_isa, out, count, key, low, high, 1, NULL, NULL)

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

cdef extern from "Python.h":
    # Cython's own declaration would raise here; the exception must wait until the fill has returned
    int PyErr_CheckSignals() noexcept

cdef extern from "csrc/fastinit.h" nogil:
    ctypedef enum fi_dtype:
        FI_FLOAT32, FI_FLOAT64, FI_FLOAT16, FI_BFLOAT16
    ctypedef enum fi_distribution:
        FI_CONSTANT, FI_UNIFORM, FI_NORMAL, FI_TRUNCATED
    ctypedef struct fi_values:
        fi_distribution distribution
        fi_dtype dtype
        double least, greatest
    ctypedef struct fi_axis:
        int64_t count, index_step, byte_step
        const int64_t *table
    ctypedef struct fi_plan:
        uint64_t first_index
        char *out
        int naxes
        fi_axis axes[64]
    ctypedef struct fi_isa:
        const char *name
        void (*convert)(const fi_values *, const uint32_t *, size_t, void *) noexcept nogil
    ctypedef enum fi_update:
        FI_SET, FI_ADD, FI_SUBTRACT
    ctypedef struct fi_product:
        fi_dtype dtype
        fi_update update
        int64_t rows, columns, depth
        const char *a
        const char *b
        char *c
        int64_t a_row, a_depth, b_depth, b_column, c_row
        int64_t row_reach, column_reach, diagonal
    int64_t FI_ALL
    int FI_MAX_AXES
    size_t FI_SCRATCH
    ctypedef int (*fi_poll)(void *) noexcept nogil
    const fi_isa *const fi_isas_compiled[]
    const char *fi_prepare(fi_values *, fi_distribution, fi_dtype, const double *, uint64_t, uint64_t)
    int fi_isa_runs(const fi_isa *)
    int fi_run(const fi_isa *, const fi_values *, const fi_plan *, int, fi_poll, void *)
    ctypedef struct fi_piece:
        const fi_values *values
        char *out
    int fi_run_each(const fi_isa *, const fi_piece *, size_t, const fi_plan *, int, fi_poll, void *)
    int fi_run_words(const fi_isa *, uint32_t *, size_t, uint64_t, uint64_t, uint64_t, int,
                     fi_poll, void *)
    ctypedef struct fi_filling:
        const fi_values *values
        const fi_plan *plan
    ctypedef struct fi_multiplication:
        fi_product product
        int64_t count, a_step, b_step, c_step
    ctypedef struct fi_accumulation:
        fi_dtype dtype
        int64_t rows, columns, count, step, pitch
        const char *addends
        double *sum
        int64_t sum_pitch
    ctypedef struct fi_offsets:
        int64_t count, step
        const int64_t *table
    ctypedef struct fi_scaling:
        fi_dtype source "from", to
        double gain
        const char *in_ "in"
        fi_offsets in_rows, in_columns
        char *out
        fi_offsets out_rows, out_columns
    ctypedef struct fi_reflecting:
        fi_dtype dtype
        void *v
        int64_t rows, columns, pitch
        double *signs
    ctypedef struct fi_triangular:
        fi_dtype dtype
        void *gram
        int64_t n
    ctypedef struct fi_factoring:
        double *a
        int64_t n, pitch
        double *inverse
        int *positive
    ctypedef enum fi_step_kind:
        FI_STEP_FILL, FI_STEP_MULTIPLY, FI_STEP_ACCUMULATE, FI_STEP_SCALE, FI_STEP_REFLECTORS, FI_STEP_TRIANGULAR
        FI_STEP_CHOLESKY
    ctypedef union fi_step_as:
        fi_filling fill
        fi_multiplication multiply
        fi_accumulation accumulate
        fi_scaling scale
        fi_reflecting reflectors
        fi_triangular triangular
        fi_factoring cholesky
    ctypedef struct fi_step:
        fi_step_kind kind
        int stage
        int64_t share
        fi_step_as as_ "as"
    int FI_MOST_TRIANGULAR, FI_NO_MEMORY
    int fi_run_steps(const fi_isa *, fi_step *, size_t, char *, int, int, int64_t *, fi_poll, void *)
    void fi_parallel_init()
    int fi_openmp_version()
    int fi_openmp_threads()
    int FI_FORKED
    int FI_SERIAL_BELOW
    size_t fi_item_size(fi_dtype)

cdef extern from "csrc/team.h" nogil:
    ctypedef struct fi_counts:
        size_t teams, stages, packed_b
    fi_counts fi_counted()

cdef extern from "csrc/fpenv.h" nogil:
    ctypedef struct fi_fpenv:
        pass
    fi_fpenv fi_fpenv_default()
    void fi_fpenv_restore(fi_fpenv)

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
    plan.naxes = len(axes)
    if plan.naxes > FI_MAX_AXES or cnp.PyArray_ITEMSIZE(out) != <int>fi_item_size(values.values.dtype):
        raise SystemError("fill: axes or item size do not fit")
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

    `axes` are (count, index step, byte step, positions or None) with the largest byte step first;
    `out` is C-contiguous, or as strided as `axes` say, and of the size of the dtype. What is no ndarray is memory of
    another device, which has the same done by its own `fill`.
    """
    cdef fi_plan plan
    cdef int stopped
    if not isinstance(out, cnp.ndarray):
        out.fill(values, first_index, axes)
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


# ---- matrices: float32 or float64; strides in whole elements ------------------------------------------------

#: bytes of scratch that products need for each thread
SCRATCH = FI_SCRATCH


def counts():
    """(teams of threads joined, ends of stages, bytes of B copied for products) since this process began: for tests."""
    cdef fi_counts counted = fi_counted()
    return counted.teams, counted.stages, counted.packed_b


cdef fi_dtype real(cnp.ndarray x) except *:
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        return FI_FLOAT32
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64:
        return FI_FLOAT64
    raise SystemError("neither float32 nor float64")


cdef inline int64_t length(cnp.ndarray x, int axis) noexcept:
    return cnp.PyArray_DIM(x, axis)


cdef inline int64_t step(cnp.ndarray x, int axis) noexcept:
    return cnp.PyArray_STRIDE(x, axis) // cnp.PyArray_ITEMSIZE(x)


cdef inline bint rows_contiguous(cnp.ndarray x, int first) noexcept:
    return step(x, first + 1) == 1 or length(x, first + 1) == 1


cdef int64_t set_offsets(fi_offsets *offsets, along) except? -1:
    count, step, first, table = along
    offsets.count, offsets.step, offsets.table = count, step, NULL
    if table is not None:
        if cnp.PyArray_TYPE(table) != cnp.NPY_INT64 or table.shape != (count,) or not table.flags.c_contiguous:
            raise SystemError("scale: a table does not fit")
        offsets.table = <const int64_t *>cnp.PyArray_DATA(table)
    return first


cdef int look(void *steps) noexcept with gil:
    return (<Steps>steps).look()


cdef class Steps:
    """A list of steps, in stages: those of one stage are done in any order and side by side.

    It keeps the arrays until it has been run. Every element of a result is summed in the same order, whatever the
    strides, threads and instruction set.
    """

    cdef fi_step *steps
    cdef size_t n, room
    cdef int stage, positive
    cdef list kept
    cdef bint on_main_thread
    cdef object advance, failure
    cdef int64_t done, reported

    def __cinit__(self):
        self.kept = []
        self.positive = 1

    def __dealloc__(self):
        self.clear()
        PyMem_Free(self.steps)

    cdef void clear(self) noexcept:
        cdef size_t i
        for i in range(self.n):
            if self.steps[i].kind == FI_STEP_FILL:
                PyMem_Free(<void *>self.steps[i].as_.fill.plan)
        self.n = 0

    cdef fi_step *add(self, fi_step_kind kind, tuple arrays) except NULL:
        cdef fi_step *grown
        if self.n == self.room:
            grown = <fi_step *>PyMem_Realloc(self.steps, (2 * self.room + 16) * sizeof(fi_step))
            if grown == NULL:
                raise MemoryError()
            self.steps, self.room = grown, 2 * self.room + 16
        self.kept.append(arrays)
        cdef fi_step *made = &self.steps[self.n]
        memset(made, 0, sizeof(fi_step))
        made.kind, made.stage = kind, self.stage
        self.n += 1
        return made

    def draw(self, Values values not None, cnp.ndarray out not None, uint64_t first_index, axes):
        """As `fill`."""
        cdef fi_plan *plan = <fi_plan *>PyMem_Malloc(sizeof(fi_plan))
        if plan == NULL:
            raise MemoryError()
        cdef fi_step *made
        try:
            make_plan(plan, values, out, first_index, axes)
            made = self.add(FI_STEP_FILL, (values, out, axes))
        except BaseException:
            PyMem_Free(plan)
            raise
        made.as_.fill.values, made.as_.fill.plan = &values.values, plan

    def multiply(self, cnp.ndarray c not None, cnp.ndarray a not None, cnp.ndarray b not None, str update, str upper="",
                 int64_t diagonal=0):
        """c = a @ b, c += a @ b or c -= a @ b ("set", "add", "subtract"); `c` contiguous along rows or columns.

        With upper="b", b is zero below element (column + diagonal, column); with upper="c", c (contiguous along rows)
        need not be made there. With one axis more in front, as many products.
        """
        cdef fi_multiplication m
        cdef fi_product *p = &m.product
        cdef int k = cnp.PyArray_NDIM(c) - 2
        cdef fi_dtype dtype = real(c)
        cdef int64_t size = cnp.PyArray_ITEMSIZE(c)
        memset(&m, 0, sizeof(m))
        if not (0 <= k <= 1 and cnp.PyArray_NDIM(a) == k + 2 and cnp.PyArray_NDIM(b) == k + 2
                and real(a) == dtype and real(b) == dtype and length(a, k) == length(c, k)
                and length(b, k) == length(a, k + 1) and length(b, k + 1) == length(c, k + 1)):
            raise SystemError("multiply: operands do not fit")
        m.count = 1
        if k == 1:
            m.count = length(c, 0)
            m.a_step, m.b_step, m.c_step = step(a, 0) * size, step(b, 0) * size, step(c, 0) * size
            if length(a, 0) != m.count or length(b, 0) != m.count:
                raise SystemError("multiply: operands do not fit")
        p.dtype, p.update, p.depth = dtype, _UPDATES[update], length(a, k + 1)
        p.c = <char *>cnp.PyArray_DATA(c)
        p.row_reach = p.column_reach = p.diagonal = FI_ALL
        if rows_contiguous(c, k):
            p.rows, p.columns = length(c, k), length(c, k + 1)
            p.a, p.b = <const char *>cnp.PyArray_DATA(a), <const char *>cnp.PyArray_DATA(b)
            p.a_row, p.a_depth, p.b_depth, p.b_column = step(a, k), step(a, k + 1), step(b, k), step(b, k + 1)
            p.c_row = step(c, k)
            if upper == "b":
                p.column_reach = diagonal + 1
            elif upper == "c":
                p.diagonal = diagonal
        elif step(c, k) == 1 or length(c, k) == 1:  # the transposes
            p.rows, p.columns = length(c, k + 1), length(c, k)
            p.a, p.b = <const char *>cnp.PyArray_DATA(b), <const char *>cnp.PyArray_DATA(a)
            p.a_row, p.a_depth, p.b_depth, p.b_column = step(b, k + 1), step(b, k), step(a, k + 1), step(a, k)
            p.c_row = step(c, k + 1)
            if upper == "b":
                p.row_reach = diagonal + 1
            elif upper == "c":
                raise SystemError("multiply: an upper triangle that is not contiguous along rows")
        else:
            raise SystemError("multiply: c is contiguous neither along rows nor along columns")
        self.add(FI_STEP_MULTIPLY, (c, a, b)).as_.multiply = m

    def accumulate(self, cnp.ndarray total not None, cnp.ndarray addends not None):
        """total += addends[0], then addends[1], ..., in float64; rows contiguous in all."""
        cdef fi_accumulation a
        memset(&a, 0, sizeof(a))
        if (cnp.PyArray_NDIM(addends) != 3 or real(total) != FI_FLOAT64 or not rows_contiguous(total, 0)
                or not rows_contiguous(addends, 1) or length(total, 0) != length(addends, 1)
                or length(total, 1) != length(addends, 2)):
            raise SystemError("accumulate: arrays do not fit")
        a.dtype, a.rows, a.columns = real(addends), length(total, 0), length(total, 1)
        a.count, a.step, a.pitch = length(addends, 0), cnp.PyArray_STRIDE(addends, 0), step(addends, 1)
        a.addends, a.sum = <const char *>cnp.PyArray_DATA(addends), <double *>cnp.PyArray_DATA(total)
        a.sum_pitch = step(total, 0)
        self.add(FI_STEP_ACCUMULATE, (total, addends)).as_.accumulate = a

    def scale(self, str dtype, double gain, cnp.ndarray q not None, rows, columns, cnp.ndarray out not None, out_rows,
              out_columns):
        """Elements of `q` times gain, rounded once to `dtype`, to elements of `out`.

        Where they lie is said by (count, step, first, table or None) along rows and columns, in bytes: number i is
        `first + step * i` from the array's first element, or `first + table[i]`.
        """
        cdef fi_scaling s
        memset(&s, 0, sizeof(s))
        s.source, s.to, s.gain = real(q), _DTYPES[dtype], gain
        s.in_, s.out = <const char *>cnp.PyArray_DATA(q), <char *>cnp.PyArray_DATA(out)
        s.in_ += set_offsets(&s.in_rows, rows) + set_offsets(&s.in_columns, columns)
        s.out += set_offsets(&s.out_rows, out_rows) + set_offsets(&s.out_columns, out_columns)
        if (s.in_rows.count != s.out_rows.count or s.in_columns.count != s.out_columns.count
                or cnp.PyArray_ITEMSIZE(out) != <int>fi_item_size(s.to)
                or (s.source == FI_FLOAT64 and s.to != FI_FLOAT64 and s.to != FI_FLOAT32)
                or (s.source == FI_FLOAT32 and s.to == FI_FLOAT64)):
            raise SystemError("scale: arrays do not fit")
        self.add(FI_STEP_SCALE, (q, rows, columns, out, out_rows, out_columns)).as_.scale = s

    def reflectors(self, cnp.ndarray v not None, cnp.ndarray signs not None):
        """Householder vectors in place of the columns of a C-order matrix; factors of Q's columns to float64 `signs`."""
        cdef fi_reflecting r
        r.dtype, r.rows, r.columns, r.pitch = real(v), length(v, 0), length(v, 1), step(v, 0)
        r.v, r.signs = cnp.PyArray_DATA(v), <double *>cnp.PyArray_DATA(signs)
        if (not rows_contiguous(v, 0) or r.rows < r.columns or real(signs) != FI_FLOAT64
                or cnp.PyArray_NDIM(signs) != 1 or length(signs, 0) != r.columns or (step(signs, 0) != 1 and r.columns > 1)):
            raise SystemError("reflectors: v does not fit")
        self.add(FI_STEP_REFLECTORS, (v, signs)).as_.reflectors = r

    def triangular_factor(self, cnp.ndarray gram not None):
        """T of the compact WY form I - V T V' in the place of V'V: its inverse is V'V above the diagonal, half on it."""
        cdef fi_triangular t
        memset(&t, 0, sizeof(t))
        t.dtype, t.gram, t.n = real(gram), cnp.PyArray_DATA(gram), length(gram, 0)
        if not gram.flags.c_contiguous or length(gram, 1) != t.n or t.n > FI_MOST_TRIANGULAR:
            raise SystemError("triangular_factor: gram does not fit")
        self.add(FI_STEP_TRIANGULAR, (gram,)).as_.triangular = t

    def cholesky(self, cnp.ndarray a not None, cnp.ndarray inverse not None):
        """The upper factor of a C-order float64 matrix in place, 0 below; and its inverse."""
        cdef fi_factoring f
        f.n, f.pitch, f.positive = length(a, 0), step(a, 0), &self.positive
        f.a, f.inverse = <double *>cnp.PyArray_DATA(a), <double *>cnp.PyArray_DATA(inverse)
        if (not rows_contiguous(a, 0) or length(a, 1) != f.n or real(a) != FI_FLOAT64 or real(inverse) != FI_FLOAT64
                or not inverse.flags.c_contiguous or length(inverse, 0) != f.n or length(inverse, 1) != f.n):
            raise SystemError("cholesky: arrays do not fit")
        self.add(FI_STEP_CHOLESKY, (a, inverse)).as_.cholesky = f

    @property
    def all_positive(self):
        """Whether every pivot of `cholesky` so far was above 0."""
        return bool(self.positive)

    def next_stage(self):
        """Steps from here on may read what earlier ones write."""
        self.stage += 1

    def share(self, int64_t share):
        """What is done once the steps so far are."""
        if self.n:
            self.steps[self.n - 1].share += share
        else:
            self.done += share

    def run(self, cnp.ndarray scratch not None, int threads, advance):
        """Does the steps on up to `threads` threads, and forgets them. `advance`, or None, is called with shares done."""
        cdef int stopped
        if cnp.PyArray_NBYTES(scratch) < threads * <int64_t>FI_SCRATCH:
            raise SystemError("run: too little scratch")
        cdef char *work = <char *>cnp.PyArray_DATA(scratch)
        self.on_main_thread = PyThread_get_thread_ident() == _main_thread
        self.advance, self.failure = advance, None
        cdef fi_poll poll = NULL
        if self.on_main_thread or advance is not None:
            poll = look
        cdef int each = advance is not None
        try:
            with nogil:
                stopped = fi_run_steps(_isa, self.steps, self.n, work, threads, each, &self.done, poll, <void *>self)
            if self.failure is not None:
                raise self.failure
            finish(stopped)
            self.report()
        finally:
            self.clear()
            self.kept = []
            self.advance = self.failure = None

    cdef int look(self) noexcept:
        if self.on_main_thread and PyErr_CheckSignals():  # only the main thread runs signal handlers
            return -1
        try:
            self.report()
        except BaseException as error:  # waits until the threads have come to an end
            self.failure = error
            return -1
        return 0

    cdef int report(self) except -1:
        cdef int64_t share = self.done - self.reported
        self.reported = self.done
        if share and self.advance is not None:
            self.advance(share)
        return 0


def multiply(c, a, b, str update, scratch, int threads, str upper="", int64_t diagonal=0):
    """`Steps.multiply` alone."""
    steps = Steps()
    steps.multiply(c, a, b, update, upper, diagonal)
    steps.run(scratch, threads, None)


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

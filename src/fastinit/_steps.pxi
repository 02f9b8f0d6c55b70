# Lists of steps that matrices are made by: float32 or float64, strides in whole elements.

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

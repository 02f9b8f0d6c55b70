# What the Cython code calls of C: csrc/fastinit.h says what it does.

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
    void fi_put_on_stream(fi_values *, uint64_t, uint64_t)
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

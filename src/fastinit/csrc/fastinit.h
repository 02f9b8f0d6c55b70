/* fastinit.h - the C core: how to write (fi_isa) what values.h describes (fi_values, fi_plan).
 *
 * The core knows no Python and no tensor shape: only flat indices into the global tensor, counts,
 * and byte strides. docs/stream.md defines every value; section numbers below refer to it. */
#ifndef FASTINIT_H
#define FASTINIT_H

#include <stddef.h>
#include <stdint.h>

#include "matrices.h"
#include "values.h"

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||                         \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "values are defined operation by operation: compile fastinit without -ffast-math, -Ofast and their parts"
#endif

/* Checks the parameters and fills *values. Returns NULL, or why they are refused (*values is then
 * of no use). `parameters` as listed at fi_distribution; unused ones are ignored. */
const char *fi_prepare(fi_values *values, fi_distribution distribution, fi_dtype dtype, const double parameters[4],
                       uint64_t key, uint64_t stream);

/* Prepared values on another stream: nothing else that they say depends on it. */
void fi_put_on_stream(fi_values *values, uint64_t key, uint64_t stream);

/* C = A B, C += A B or C -= A B in float32 or float64; A is rows x depth, B depth x columns. Steps are in elements;
 * neighbours in a row of C are neighbours in memory. Each element is the sum of its terms in the order that
 * docs/stream.md gives: blocks of FI_DEPTH. */
typedef struct {
    fi_dtype dtype;
    fi_update update;
    int64_t rows, columns, depth;
    const char *a, *b;
    char *c;
    int64_t a_row, a_depth, b_depth, b_column, c_row;
    /* What may be left out, which changes no bit of the rest: terms from k = row + row_reach or column + column_reach
     * on are zeros; elements whose row is beyond column + diagonal are not wanted. FI_ALL leaves out nothing. */
    int64_t row_reach, column_reach, diagonal;
} fi_product;

#define FI_PITCH (FI_DEPTH + 16)       /* of a row of A in scratch: not a power of two, which would share cache sets */
#define FI_SCRATCH_A (2048 * FI_PITCH) /* 512 rows in float32, 256 in float64 */
#define FI_GROUP 4                     /* tiles' columns of B that are copied together */
#define FI_SCRATCH (FI_SCRATCH_A + FI_GROUP * 3 * 64 * FI_DEPTH) /* bytes that each thread needs */

static inline int64_t fi_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Blocks that follow each other. */
typedef struct {
    uint64_t first, count;
} fi_blocks;

/* One instruction set's kernels. */
typedef struct {
    const char *name;
    /* Elements first .. first + count - 1 of the tensor into contiguous memory, aligned or not. */
    void (*fill)(const fi_values *values, uint64_t first, size_t count, void *out);
    /* The same in runs of `length` elements that are `step` bytes apart. */
    void (*fill_apart)(const fi_values *values, uint64_t first, size_t count, void *out, int64_t length, int64_t step);
    /* The elements of `count` runs of together at most FI_LIST blocks into contiguous memory, which has room for the
     * next multiple of FI_ROOM blocks. `ahead`: whether it is not in the cache, and to be fetched first. */
    void (*list)(const fi_values *values, const fi_blocks *runs, size_t count, void *out, int ahead);
    /* Element c of from[r], of `size` bytes, to out + c step + r size; `stream`: past the caches, if it can be. Whoever
     * did so calls end_streams before he is done. */
    void (*transpose)(char *out, int64_t step, const char *const *from, int64_t rows, int64_t columns, size_t size,
                      int stream);
    void (*end_streams)(void);
    /* Raw words of the blocks whose 128-bit counter starts at (low, high). */
    void (*words)(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high);
    /* The elements that `blocks` blocks of given words stand for; not for constants. */
    void (*convert)(const fi_values *values, const uint32_t *words, size_t blocks, void *out);
    /* A product of at most FI_SCRATCH_A / FI_PITCH bytes of rows; scratch has FI_SCRATCH bytes, aligned. Returns the
     * bytes of B that it has copied there. */
    size_t (*multiply)(const fi_product *product, char *scratch);
    int64_t terms; /* of a product, that one call should do at most: a signal waits that long */
} fi_isa;

#define FI_LIST 768 /* a multiple of GROUPS * BLOCKS of every instruction set */
#define FI_ROOM 8   /* a multiple of BLOCKS of every instruction set */

extern const fi_isa fi_isa_base;
extern const fi_isa fi_isa_avx2;
extern const fi_isa fi_isa_avx512;
extern const fi_isa fi_isa_neon;

/* The instruction sets compiled in, best first, NULL at the end; and whether this CPU runs one. */
extern const fi_isa *const fi_isas_compiled[];
int fi_isa_runs(const fi_isa *isa);

/* Called now and then on the calling thread; non-zero stops the work. */
typedef int (*fi_poll)(void *context);

/* Returned where poll forked the process, and this is the child: the threads at work are not in it. */
#define FI_FORKED (-0x7FFFFFFF)
/* Returned where there is no memory to keep account of the work: nothing has been done. */
#define FI_NO_MEMORY (-0x7FFFFFFE)

#define FI_SERIAL_BELOW 65536 /* elements that one thread makes before a second has woken up: done on one */

/* Fills the plan with up to `threads` threads. Returns 0, or what poll returned, or FI_FORKED: then part of the
 * output has been written. */
int fi_run(const fi_isa *isa, const fi_values *values, const fi_plan *plan, int threads, fi_poll poll, void *context);

/* One of several tensors that are filled by one plan: its values, and where the plan begins in its memory. */
typedef struct {
    const fi_values *values;
    char *out;
} fi_piece;

/* The same for several tensors of one dtype. */
int fi_run_each(const fi_isa *isa, const fi_piece *pieces, size_t n, const fi_plan *plan, int threads, fi_poll poll,
                void *context);

/* The same for raw words. */
int fi_run_words(const fi_isa *isa, uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high, int threads,
                 fi_poll poll, void *context);

/* ---- steps that matrices are made of ------------------------------------------------------------------- */

/* Fields under "the core's" are for the file that cuts the step into tiles. */

typedef struct {
    const fi_values *values;
    const fi_plan *plan;
    fi_piece piece; /* the core's */
} fi_filling;

/* `count` products; where each one's operands lie, in bytes from those of the one before. */
typedef struct {
    fi_product product;
    int64_t count, a_step, b_step, c_step;
    /* the core's */
    const fi_isa *isa;
    char *scratch;
    int64_t down, across, slab;
} fi_multiplication;

/* sum += the first addend, then the next, ...: float32 or float64, in float64. `step` bytes from one to the next,
 * pitches in elements. */
typedef struct {
    fi_dtype dtype;
    int64_t rows, columns, count, step, pitch;
    const char *addends;
    double *sum;
    int64_t sum_pitch;
    int64_t down, across; /* the core's */
} fi_accumulation;

/* Where `count` numbers lie along an axis of memory: `step * i` bytes from the first, or table[i]. */
typedef struct {
    int64_t count, step;
    const int64_t *table; /* or NULL */
} fi_offsets;

/* The elements of a matrix, times gain and rounded once, to those of another: float32 to float32, float16 or bfloat16;
 * float64 to float64 or float32. The result may be in the place of what it is made of. */
typedef struct {
    fi_dtype from, to;
    double gain;
    const char *in;
    fi_offsets in_rows, in_columns;
    char *out;
    fi_offsets out_rows, out_columns;
    int64_t down, across; /* the core's */
} fi_scaling;

/* Columns of normals to Householder vectors, in place: float32 or float64, rows x columns <= rows, `pitch` elements
 * from row to row. Column k becomes v of its entries from k on, 0 above; signs[k] is the factor of column k of Q. */
typedef struct {
    fi_dtype dtype;
    void *v;
    int64_t rows, columns, pitch;
    double *signs;
} fi_reflecting;

/* T of n reflectors I - V T V' from gram = V'V, float32 or float64, in its place. */
typedef struct {
    fi_dtype dtype;
    void *gram;
    int64_t n;
    char *scratch; /* the core's */
} fi_triangular;

/* The upper factor R of A = R'R in place, 0 below, and its inverse, both n x n; *positive = 0 if a pivot was not. */
typedef struct {
    double *a;
    int64_t n, pitch;
    double *inverse;
    int *positive;
} fi_factoring;

typedef enum {
    FI_STEP_FILL,
    FI_STEP_MULTIPLY,
    FI_STEP_ACCUMULATE,
    FI_STEP_SCALE,
    FI_STEP_REFLECTORS,
    FI_STEP_TRIANGULAR,
    FI_STEP_CHOLESKY,
} fi_step_kind;

typedef struct {
    fi_step_kind kind;
    int stage;     /* steps of one stage follow each other in the list; they are done in any order, and side by side */
    int64_t share; /* of what there is to do, as the caller counts it */
    union {
        fi_filling fill;
        fi_multiplication multiply;
        fi_accumulation accumulate;
        fi_scaling scale;
        fi_reflecting reflectors;
        fi_triangular triangular;
        fi_factoring cholesky;
    } as;
} fi_step;

/* What the last three do, each by the calling thread. fi_cholesky returns 0 if a pivot was not positive; work has room
 * for 2 n^2. */
int fi_cholesky(double *a, int64_t n, int64_t pitch);
void fi_invert_upper(const double *r, int64_t pitch, double *inverse, int64_t n);
void fi_triangular_factor(fi_dtype dtype, void *gram, double *work, int64_t n);

#define FI_MOST_TRIANGULAR 128 /* n of triangular factors: so many have room in scratch */

/* Does all steps on up to `threads` threads; scratch has FI_SCRATCH bytes, aligned, for each of them. The shares of the
 * stages that are done are added to *done before each poll; there is one at the end of each stage if `each`. */
int fi_run_steps(const fi_isa *isa, fi_step *steps, size_t n, char *scratch, int threads, int each, int64_t *done,
                 fi_poll poll, void *context);

/* Remembers the process, so that children forked from it stay on one thread, and its CPUs. Call once at load. */
void fi_parallel_init(void);

/* OpenMP version date the core was compiled with, 0 without OpenMP. */
int fi_openmp_version(void);

/* How many threads OpenMP would use here and now: CPUs that this process may use, at most the calling thread's limit
 * (OMP_NUM_THREADS, OMP_THREAD_LIMIT, omp_set_num_threads). 0 without OpenMP. */
int fi_openmp_threads(void);

#endif

/* fastinit.h - the C core: what to write (fi_values), where to write it (fi_plan), and how (fi_isa).
 *
 * The core knows no Python and no tensor shape: only flat indices into the global tensor, counts,
 * and byte strides. docs/stream.md defines every value; section numbers below refer to it. */
#ifndef FASTINIT_H
#define FASTINIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||                         \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "values are defined operation by operation: compile fastinit without -ffast-math, -Ofast and their parts"
#endif

typedef enum { FI_FLOAT32, FI_FLOAT64, FI_FLOAT16, FI_BFLOAT16 } fi_dtype;

typedef enum {
    FI_CONSTANT,  /* parameter: value */
    FI_UNIFORM,   /* parameters: low, high */
    FI_NORMAL,    /* parameters: mean, std */
    FI_TRUNCATED, /* parameters: mean, std, lower, upper */
} fi_distribution;

/* How truncated normals are computed; a function of the cuts and the dtype alone. */
typedef enum {
    FI_CUT_CENTRAL,     /* float32 and both cuts within 2: one rational function */
    FI_CUT_TAILS,       /* float32 and a cut within 3: a rational function of the root of the tail's logarithm */
    FI_CUT_GENERAL,     /* inverse normal of a tail probability in float64 */
    FI_CUT_NARROW,      /* cuts closer than 1e-3 and than 1e-3 over the nearer one: the density is all but constant */
    FI_CUT_EXPONENTIAL, /* nearer cut beyond 1000, or cuts closer than 1e-3: the tail is all but exponential */
} fi_cut_method;

/* z of a truncated normal from t = (k + 1/2) / 2^bits, k the element's random integer. */
typedef struct {
    fi_cut_method method;
    float center, slope;        /* float32: Phi(z) - 1/2 in the middle of the words, and its step from word to word */
    float split32;              /* split, counted from the middle of the words */
    double kmax;                /* 2^bits - 1 */
    double scale, half;         /* 2^-bits, 2^-(bits + 1) */
    double split;               /* k below it is measured from the lower tail, others from the upper */
    double base_low, base_high; /* tail probability outside the cut, relative to exp(-y0) */
    double width;               /* probability between the cuts, relative to exp(-y0) */
    double central_above;       /* tail probabilities above it take the central rational */
    double y0;                  /* -ln of what tail probabilities are relative to */
    double origin, step;        /* narrow, exponential: z = origin + step * (about t, or a share of ln X) */
    double bend, bend_slope;    /* narrow: how far z stays behind a straight line, at t = 0, and its change with t */
    double rate, rate_change;   /* exponential: the derivative of -ln Q at the nearer cut; -2 times the second one */
    double rate_square;
} fi_cut;

/* Everything an element's value depends on besides its index. Filled by fi_prepare. */
typedef struct {
    fi_distribution distribution;
    fi_dtype dtype;
    uint32_t key[2];
    uint32_t stream[2]; /* counter words c2, c3 */
    float scale32, shift32;
    double scale64, shift64;
    int hold;                   /* whether the hold rule can change a value */
    double hold_low, hold_high; /* closed interval, both exact in dtype */
    double least, greatest;     /* closed interval that no value leaves, exact in dtype */
    fi_cut cut;
    uint64_t pattern; /* constant: the bits of one element */
} fi_values;

/* Checks the parameters and fills *values. Returns NULL, or why they are refused (*values is then
 * of no use). `parameters` as listed at fi_distribution; unused ones are ignored. */
const char *fi_prepare(fi_values *values, fi_distribution distribution, fi_dtype dtype, const double parameters[4],
                       uint64_t key, uint64_t stream);

/* One axis of a region. Element j of it lies index_step * j (or index_step * table[j]) flat indices
 * and byte_step * j bytes from element 0. */
typedef struct {
    int64_t count;
    int64_t index_step;
    int64_t byte_step;
    const int64_t *table; /* NULL, or `count` positions along the axis */
} fi_axis;

#define FI_MAX_AXES 64

/* A region of a tensor and the memory it goes to. Axes in order of memory: largest byte step first. */
typedef struct {
    uint64_t first_index; /* flat index of the region's first element */
    char *out;            /* its address */
    int naxes;
    fi_axis axes[FI_MAX_AXES];
} fi_plan;

typedef enum { FI_SET, FI_ADD, FI_SUBTRACT } fi_update;

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

#define FI_ALL (INT64_MAX / 4)

#define FI_DEPTH 256
#define FI_PITCH (FI_DEPTH + 16)       /* of a row of A in scratch: not a power of two, which would share cache sets */
#define FI_SCRATCH_A (2048 * FI_PITCH) /* 512 rows in float32, 256 in float64 */
#define FI_GROUP 4                     /* tiles' columns of B that are copied together */
#define FI_SCRATCH (FI_SCRATCH_A + FI_GROUP * 3 * 64 * FI_DEPTH) /* bytes that each thread needs */

static inline int64_t fi_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* One instruction set's kernels. */
typedef struct {
    const char *name;
    /* Elements first .. first + count - 1 of the tensor into contiguous memory, aligned or not. */
    void (*fill)(const fi_values *values, uint64_t first, size_t count, void *out);
    /* The elements of `count` <= FI_LIST blocks anywhere into contiguous memory. `out` has room for those of FI_LIST
     * blocks, and `blocks` for as many: what is behind `count` is overwritten. */
    void (*list)(const fi_values *values, uint64_t *blocks, size_t count, void *out);
    /* Raw words of the blocks whose 128-bit counter starts at (low, high). */
    void (*words)(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high);
    /* The elements that `blocks` blocks of given words stand for; not for constants. */
    void (*convert)(const fi_values *values, const uint32_t *words, size_t blocks, void *out);
    /* A product of at most FI_SCRATCH_A / FI_PITCH bytes of rows; scratch has FI_SCRATCH bytes, aligned. */
    void (*multiply)(const fi_product *product, char *scratch);
    int64_t at_once; /* words that `fill` makes at once: a shorter run wastes the rest */
    int64_t terms;   /* of a product, that one call should do at most: a signal waits that long */
} fi_isa;

#define FI_LIST 768 /* a multiple of LISTED * BLOCKS of every instruction set */

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

/* The product, on up to `threads` threads; scratch has FI_SCRATCH bytes for each. */
int fi_multiply(const fi_isa *isa, const fi_product *product, char *scratch, int threads, fi_poll poll, void *context);

/* Columns of normals to Householder vectors, in place: float32 or float64, rows x columns <= rows, `pitch` elements
 * from row to row. Column k becomes v of its entries from k on, 0 above; signs[k] is the factor of column k of Q. */
int fi_reflectors(fi_dtype dtype, void *v, int64_t rows, int64_t columns, int64_t pitch, double *signs, int threads,
                  fi_poll poll, void *context);

/* The upper factor R of A = R'R in place, n x n, 0 below; 0 if a pivot was not positive. */
int fi_cholesky(double *a, int64_t n, int64_t pitch);

/* The inverse, n x n, of an upper triangular matrix. */
void fi_invert_upper(const double *r, int64_t pitch, double *inverse, int64_t n);

/* T of n reflectors I - V T V' from gram = V'V, float32 or float64, in its place; work has room for 2 n^2. */
void fi_triangular_factor(fi_dtype dtype, void *gram, double *work, int64_t n);

/* rows x columns elements of `in`, times gain and rounded once to `dtype`, to `out`; pitches in elements. `in` is
 * float32, float64 for that dtype; out may be in. */
int fi_scale(fi_dtype dtype, const void *in, int64_t in_pitch, double gain, void *out, int64_t out_pitch, int64_t rows,
             int64_t columns, int threads, fi_poll poll, void *context);

/* sum += addend, float32 or float64, in float64. */
int fi_accumulate(fi_dtype dtype, const void *addend, int64_t addend_pitch, double *sum, int64_t sum_pitch,
                  int64_t rows, int64_t columns, int threads, fi_poll poll, void *context);

/* Remembers the process, so that children forked from it stay on one thread, and its CPUs. Call once at load. */
void fi_parallel_init(void);

/* OpenMP version date the core was compiled with, 0 without OpenMP. */
int fi_openmp_version(void);

/* How many threads OpenMP would use here and now: CPUs that this process may use, at most the calling thread's limit
 * (OMP_NUM_THREADS, OMP_THREAD_LIMIT, omp_set_num_threads). 0 without OpenMP. */
int fi_openmp_threads(void);

/* Elements that the four words of a block make, and the base-2 logarithm of that. */
static inline size_t fi_per_block(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 2 : 4; }
static inline int fi_block_shift(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 1 : 2; }
static inline size_t fi_item_size(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 8 : dtype == FI_FLOAT32 ? 4 : 2; }

#endif

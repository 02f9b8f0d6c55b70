/* values.h - what to write (fi_values) and where (fi_plan): all that the kernels of any device are told.
 *
 * docs/stream.md defines every value. Types only: the compiler for GPUs reads this file, too. */
#ifndef FASTINIT_VALUES_H
#define FASTINIT_VALUES_H

#include <stddef.h>
#include <stdint.h>

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

/* Elements that the four words of a block make, and the base-2 logarithm of that. */
static inline size_t fi_per_block(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 2 : 4; }
static inline int fi_block_shift(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 1 : 2; }
static inline size_t fi_item_size(fi_dtype dtype) { return dtype == FI_FLOAT64 ? 8 : dtype == FI_FLOAT32 ? 4 : 2; }

#endif

/* cuda_matrix.cu - what orthogonal matrices are made of, on CUDA devices: the steps of matrix.c and elementwise.c, with
 * every sum in the order that docs/stream.md gives.
 *
 * Compiled once for each working precision:
 *   DTYPE         FI_FLOAT32 or FI_FLOAT64
 *   STAGE_BYTES   sizeof(fi_stage) where its bytes are made
 * tests/cuda/host compiles this file for the CPU. */
#ifndef DTYPE
#error "define DTYPE"
#endif
#include "lanes_cuda.h"
#include "cuda_common.h"
#include "matrices.h"
#include "narrow.h"
#include "values.h"

template <int dtype> struct working {
    typedef float real;
};
template <> struct working<FI_FLOAT64> {
    typedef double real;
};
typedef working<DTYPE>::real REAL;

constexpr int THREADS = 256, ELEMENTS = 8 * THREADS; /* ELEMENTS: what a unit of an elementwise step has */

/* Named roundings: nothing is contracted, whatever the compiler is told. */
LANE float add(float a, float b) { return __fadd_rn(a, b); }
LANE float sub(float a, float b) { return __fsub_rn(a, b); }
LANE float mul(float a, float b) { return __fmul_rn(a, b); }
LANE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LANE double add(double a, double b) { return __dadd_rn(a, b); }
LANE double sub(double a, double b) { return __dsub_rn(a, b); }
LANE double mul(double a, double b) { return __dmul_rn(a, b); }
LANE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
LANE float rounded(double x, float) { return __double2float_rn(x); }
LANE double rounded(double x, double) { return x; }

#include "cuda_product.h"

/* ---- reflectors --------------------------------------------------------------------------------------- */

typedef struct {
    REAL *v;
    int64_t down, rows, columns;
    double *signs;
} fi_reflect;

constexpr int GROUP = 32, CHUNK = 64, OF_A_THREAD = CHUNK * GROUP / THREADS;

/* Columns unit * GROUP .. + GROUP - 1 to Householder vectors. One thread sums a column's squares, row after row; all
 * threads bring the rows, a chunk while the one before it is summed. */
LANE void reflect(const fi_reflect *p, int64_t unit, REAL *shared) {
    const int t = threadIdx.x, lane = t % GROUP, row = t / GROUP;
    const int64_t k = unit * GROUP + lane;
    const int is_there = k < p->columns;
    REAL taken[OF_A_THREAD];
    double squares = 0;
    for (int64_t low = unit * GROUP; low < p->rows + CHUNK; low += CHUNK) {
        UNROLL
        for (int e = 0; e < OF_A_THREAD; e++) {
            const int64_t i = low + row + e * (THREADS / GROUP);
            taken[e] = is_there && k <= i && i < p->rows ? p->v[i * p->down + k] : (REAL)0;
        }
        if (low > unit * GROUP && t < GROUP) {
            UNROLL
            for (int i = 0; i < CHUNK; i++) {
                const double x = shared[i * GROUP + lane];
                squares = add(squares, mul(x, x));
            }
        }
        __syncthreads();
        UNROLL
        for (int e = 0; e < OF_A_THREAD; e++)
            shared[(row + e * (THREADS / GROUP)) * GROUP + lane] = taken[e];
        __syncthreads();
    }
    if (!is_there)
        return;
    for (int64_t i = row; i < k; i += THREADS / GROUP)
        p->v[i * p->down + k] = 0;
    if (t < GROUP) {
        REAL *head = &p->v[k * p->down + k];
        const int is_last = k == p->rows - 1;
        const double norm = __dsqrt_rn(squares), sign = fi_column_sign(*head, norm, is_last);
        *head = rounded(fi_reflector_head(*head, norm, sign, is_last), (REAL)0);
        p->signs[k] = sign;
    }
}

/* ---- triangular factors: a thread for each column ------------------------------------------------------ */

/* An upper triangular n x n matrix and its inverse; element (i, j) lies at i * down + j. */
typedef struct {
    REAL *from;
    int64_t down, n;
    double *to;
    int64_t to_down;
} fi_invert;

LANE double as_it_is(const fi_invert *p, int64_t i, int64_t j) { return p->from[i * p->down + j]; }
/* U of V'V, whose inverse is T. */
LANE double halved(const fi_invert *p, int64_t i, int64_t j) {
    const double x = as_it_is(p, i, j);
    return i == j ? fi_factor_diagonal(x) : x;
}

template <class Element> LANE void invert(const fi_invert *p, Element u) {
    for (int64_t j = threadIdx.x; j < p->n; j += THREADS) {
        for (int64_t i = p->n - 1; i > j; i--)
            p->to[i * p->to_down + j] = 0;
        p->to[j * p->to_down + j] = __ddiv_rn(1, u(p, j, j));
        for (int64_t i = j - 1; i >= 0; i--) {
            double sum = 0;
#pragma unroll 8
            for (int64_t k = i + 1; k <= j; k++)
                sum = add(sum, mul(u(p, i, k), p->to[k * p->to_down + j]));
            p->to[i * p->to_down + j] = __ddiv_rn(-sum, u(p, i, i));
        }
    }
}

/* T in the place of V'V: threads read what others would overwrite until all are done. */
LANE void factor(const fi_invert *p) {
    invert(p, [](const fi_invert *of, int64_t i, int64_t j) { return halved(of, i, j); });
    __syncthreads();
    for (int64_t e = threadIdx.x; e < p->n * p->n; e += THREADS)
        p->from[e / p->n * p->down + e % p->n] = rounded(p->to[e / p->n * p->to_down + e % p->n], (REAL)0);
}

/* The upper factor in place, row after row, and its inverse. A pivot that is not above 0 becomes NaN: a device cannot
 * refuse. */
LANE void cholesky(const fi_invert *p) {
    REAL *a = p->from; /* float64: the working precision of all Gram matrices */
    for (int64_t i = 0; i < p->n; i++) {
        REAL *row = a + i * p->down;
        for (int64_t j = threadIdx.x; j < p->n; j += THREADS) {
            double left = j < i ? 0 : row[j];
            if (j >= i) {
#pragma unroll 8
                for (int64_t k = 0; k < i; k++) {
                    const double x = a[k * p->down + i], y = a[k * p->down + j];
                    left = sub(left, mul(x, y));
                }
            }
            if (j == i)
                left = left > 0 ? __dsqrt_rn(left) : __longlong_as_double(0x7FF8000000000000);
            row[j] = left;
        }
        __syncthreads();
        const double pivot = row[i];
        for (int64_t j = threadIdx.x; j < p->n; j += THREADS)
            if (j > i)
                row[j] = __ddiv_rn(row[j], pivot);
        __syncthreads();
    }
    invert(p, [](const fi_invert *of, int64_t i, int64_t j) { return as_it_is(of, i, j); });
}

/* ---- elementwise: unit `unit` is ELEMENTS of them ------------------------------------------------------ */

/* total += addends[0], then addends[1], ..., in float64. */
typedef struct {
    double *total;
    int64_t down;
    fi_matrix addends;
    int64_t rows, columns, batch;
} fi_accumulate;

LANE void accumulate(const fi_accumulate *p, int64_t unit) {
    const int64_t size = p->rows * p->columns;
    for (int64_t e = unit * ELEMENTS + threadIdx.x; e < least(size, (unit + 1) * ELEMENTS); e += THREADS) {
        uint64_t row = (uint64_t)e;
        const int64_t column = (int64_t)divide(&row, (uint64_t)p->columns);
        double *total = p->total + (int64_t)row * p->down + column;
        double sum = *total;
        for (int64_t b = 0; b < p->batch; b++)
            sum = add(sum, (double)p->addends
                               .at[(int64_t)row * p->addends.down + column * p->addends.across + b * p->addends.next]);
        *total = sum;
    }
}

/* Numbers of rows or columns in memory: number i is step * i bytes from the first, or table[i]. */
typedef struct {
    int64_t step;
    const int64_t *table;
} fi_offsets;

/* gain * q, rounded once to `dtype`. */
typedef struct {
    const char *q;
    char *out;
    int64_t dtype;
    double gain;
    int64_t rows, columns;
    fi_offsets q_rows, q_columns, out_rows, out_columns;
} fi_put;

LANE int64_t offset_of(const fi_offsets *along, uint64_t i) {
    return along->table ? along->table[i] : along->step * (int64_t)i;
}

LANE void put(const fi_put *p, int64_t unit) {
    const REAL gain = rounded(p->gain, (REAL)0);
    for (int64_t e = unit * ELEMENTS + threadIdx.x; e < least(p->rows * p->columns, (unit + 1) * ELEMENTS);
         e += THREADS) {
        uint64_t row = (uint64_t)e;
        const uint64_t column = divide(&row, (uint64_t)p->columns);
        const REAL x = mul(gain, *(const REAL *)(p->q + offset_of(&p->q_rows, row) + offset_of(&p->q_columns, column)));
        char *out = p->out + offset_of(&p->out_rows, row) + offset_of(&p->out_columns, column);
        const float single = rounded((double)x, 0.0f);
        if (p->dtype == FI_FLOAT64)
            *(double *)out = x;
        else if (p->dtype == FI_FLOAT32)
            *(float *)out = single;
        else if (p->dtype == FI_FLOAT16)
            *(uint16_t *)out = (uint16_t)f16_bits(single);
        else
            *(uint16_t *)out = (uint16_t)(bfloat16_upper(f32_set(single)).a >> 16);
    }
}

/* ---- stages -------------------------------------------------------------------------------------------- */

/* cuda/work.py counts and packs these in the same order. */
enum fi_kind { MULTIPLY, COMBINE, REFLECT, FACTOR, CHOLESKY, ACCUMULATE, PUT };

typedef struct {
    int64_t kind, units; /* the blocks of threads that can work on it at once */
    union {
        fi_multiply multiply; /* and combine */
        fi_reflect reflect;
        fi_invert invert; /* factor and cholesky */
        fi_accumulate accumulate;
        fi_put put;
    };
} fi_step;

constexpr int STEPS = 16;

/* Steps that can be done side by side. */
typedef struct {
    int64_t steps, units;
    fi_step step[STEPS];
} fi_stage;

static_assert(sizeof(fi_stage) == STAGE_BYTES && sizeof(fi_stage) <= 4096,
              "the host lays structs out otherwise, or a launch cannot carry them");

/* Each step reads shared memory for the last time before its last barrier, so the next one can write there at once. */
extern "C" __global__ void __launch_bounds__(THREADS) stage(const __grid_constant__ fi_stage s) {
    alignas(16) __shared__ REAL shared[4 * SLICE * PITCH];
    static_assert(CHUNK * GROUP <= 4 * SLICE * PITCH, "a chunk of rows fits into shared memory");
    for (int64_t u = blockIdx.x; u < s.units; u += gridDim.x) {
        const fi_step *step = s.step;
        int64_t unit = u;
        for (; unit >= step->units; step++)
            unit -= step->units;
        switch (step->kind) {
        case MULTIPLY: multiply(&step->multiply, unit, shared); break;
        case COMBINE: combine(&step->multiply, unit); break;
        case REFLECT: reflect(&step->reflect, unit, shared); break;
        case FACTOR: factor(&step->invert); break;
        case CHOLESKY:
            if constexpr (DTYPE == FI_FLOAT64)
                cholesky(&step->invert);
            break;
        case ACCUMULATE: accumulate(&step->accumulate, unit); break;
        default: put(&step->put, unit);
        }
    }
}

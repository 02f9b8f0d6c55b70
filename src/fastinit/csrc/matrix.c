/* matrix.c - reflectors and triangular factors.
 *
 * All from + - * / sqrt, each rounded once; every sum in the order that docs/stream.md gives. */
#include <math.h>

#include "fpenv.h"
#include "steps.h"

#define REFLECTORS 16 /* in a tile: a cache line of float32 */

/* ---- reflectors --------------------------------------------------------------------------------------- */

/* v = x + s |x| e_0 for `columns` columns at once; the squares are summed in float64, row after row. A column of one
 * element is its sign: no reflection. */
#define DEFINE_REFLECTORS(name, real)                                                                                  \
    static void name(real *v, int64_t rows, int64_t columns, int64_t pitch, int64_t top, double *signs) {              \
        double squares[REFLECTORS] = {0};                                                                              \
        for (int64_t k = 0; k < columns; k++)                                                                          \
            for (int64_t i = 0; i < top + k; i++)                                                                      \
                v[i * pitch + k] = 0;                                                                                  \
        if (columns == REFLECTORS)                                                                                     \
            for (int64_t i = top; i < rows; i++)                                                                       \
                for (int64_t k = 0; k < REFLECTORS; k++)                                                               \
                    squares[k] += (double)v[i * pitch + k] * (double)v[i * pitch + k];                                 \
        else                                                                                                           \
            for (int64_t i = top; i < rows; i++)                                                                       \
                for (int64_t k = 0; k < columns; k++)                                                                  \
                    squares[k] += (double)v[i * pitch + k] * (double)v[i * pitch + k];                                 \
        for (int64_t k = 0; k < columns; k++) {                                                                        \
            real *x0 = &v[(top + k) * pitch + k];                                                                      \
            const int is_last = top + k == rows - 1;                                                                   \
            const double norm = sqrt(squares[k]);                                                                      \
            signs[k] = fi_column_sign(*x0, norm, is_last);                                                             \
            *x0 = (real)fi_reflector_head(*x0, norm, signs[k], is_last);                                               \
        }                                                                                                              \
    }
DEFINE_REFLECTORS(reflectors_f32, float)
DEFINE_REFLECTORS(reflectors_f64, double)

static void do_reflector_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_reflecting *r = context;
    const int64_t first = (int64_t)tile * REFLECTORS, columns = fi_least(r->columns - first, REFLECTORS);
    (void)worker;
    if (r->dtype == FI_FLOAT64)
        reflectors_f64((double *)r->v + first, r->rows, columns, r->pitch, first, r->signs + first);
    else
        reflectors_f32((float *)r->v + first, r->rows, columns, r->pitch, first, r->signs + first);
}

fi_task fi_reflectors_task(const fi_reflecting *r) {
    const uint64_t tiles = (uint64_t)(r->columns + REFLECTORS - 1) / REFLECTORS;
    return (fi_task){do_reflector_tile, r, tiles, (uint64_t)(r->rows * r->columns)};
}

/* ---- triangular factors ------------------------------------------------------------------------------- */

int fi_cholesky(double *a, int64_t n, int64_t pitch) {
    const fi_fpenv saved = fi_fpenv_default();
    int positive = 1;
    for (int64_t k = 0; k < n; k++) {
        double *row = a + k * pitch;
        for (int64_t j = 0; j < k; j++)
            row[j] = 0;
        positive &= row[k] > 0;
        row[k] = sqrt(row[k]);
        for (int64_t j = k + 1; j < n; j++)
            row[j] /= row[k];
        for (int64_t i = k + 1; i < n; i++)
            for (int64_t j = i; j < n; j++)
                a[i * pitch + j] -= row[i] * row[j];
    }
    fi_fpenv_restore(saved);
    return positive;
}

void fi_invert_upper(const double *r, int64_t pitch, double *restrict inverse, int64_t n) {
    const fi_fpenv saved = fi_fpenv_default();
    for (int64_t i = n - 1; i >= 0; i--) {
        const double *factors = r + i * pitch;
        double *restrict sum = inverse + i * n;
        for (int64_t j = 0; j < n; j++)
            sum[j] = 0;
        int64_t k = i + 1;
        for (; k + 4 <= n; k += 4) { /* four terms at a time, in order; those left of the diagonal are zeros */
            const double *row = inverse + k * n, f0 = factors[k], f1 = factors[k + 1], f2 = factors[k + 2],
                         f3 = factors[k + 3];
            for (int64_t j = k; j < n; j++)
                sum[j] = (((sum[j] + f0 * row[j]) + f1 * row[n + j]) + f2 * row[2 * n + j]) + f3 * row[3 * n + j];
        }
        for (; k < n; k++)
            for (int64_t j = k; j < n; j++)
                sum[j] += factors[k] * inverse[k * n + j];
        for (int64_t j = i + 1; j < n; j++)
            sum[j] = -sum[j] / factors[i];
        sum[i] = 1 / factors[i];
    }
    fi_fpenv_restore(saved);
}

void fi_triangular_factor(fi_dtype dtype, void *gram, double *work, int64_t n) {
    double *r = work, *inverse = work + n * n;
    const float *gram32 = gram;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            r[i * n + j] = dtype == FI_FLOAT64 ? ((const double *)gram)[i * n + j] : (double)gram32[i * n + j];
    for (int64_t i = 0; i < n; i++) {
        double *diagonal = &r[i * n + i];
        *diagonal = fi_factor_diagonal(*diagonal);
    }
    fi_invert_upper(r, n, inverse, n);
    const fi_fpenv saved = fi_fpenv_default();
    for (int64_t i = 0; i < n * n; i++)
        if (dtype == FI_FLOAT64)
            ((double *)gram)[i] = inverse[i];
        else
            ((float *)gram)[i] = (float)inverse[i];
    fi_fpenv_restore(saved);
}

/* ---- the same as tasks of one tile ----------------------------------------------------------------------- */

static uint64_t cost_of(int64_t n) { return (uint64_t)(n * n * n / 16); }

static void do_triangular_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_triangular *t = context;
    (void)tile;
    fi_triangular_factor(t->dtype, t->gram, (double *)(void *)(t->scratch + (int64_t)worker->number * FI_SCRATCH),
                         t->n);
}

fi_task fi_triangular_task(fi_triangular *t, char *scratch) {
    t->scratch = scratch;
    return (fi_task){do_triangular_tile, t, t->n > 0, cost_of(t->n)};
}

static void do_cholesky_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_factoring *f = context;
    (void)tile, (void)worker;
    if (!fi_cholesky(f->a, f->n, f->pitch))
        *f->positive = 0;
    fi_invert_upper(f->a, f->pitch, f->inverse, f->n);
}

fi_task fi_cholesky_task(const fi_factoring *f) { return (fi_task){do_cholesky_tile, f, f->n > 0, 2 * cost_of(f->n)}; }

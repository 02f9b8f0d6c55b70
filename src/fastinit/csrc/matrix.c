/* matrix.c - what orthogonal matrices are made of: products cut into tiles, reflectors, triangular factors.
 *
 * All from + - * / sqrt, each rounded once; every sum in the order that docs/stream.md gives. */
#include <math.h>
#include <string.h>

#include "fastinit.h"
#include "fpenv.h"
#include "parallel.h"
#include "round.h"

/* A product's tile: multiples of every TILE_ROWS and of every TILE_COLUMNS, and the longest run of terms that a tile
 * sums before all tiles go on with the next. Measured: benchmarks/README.md, "Orthogonal". */
#define MOST_COLUMNS 1008
#define ROW_UNIT 8
#define COLUMN_UNIT 48
#define LEAST_ROWS 64
#define LEAST_COLUMNS 96
#define SLAB (4 * FI_DEPTH)
#define TILES_A_THREAD 2
#define PER_ELEMENT 64 /* terms of a product for which a second thread is as worthwhile as for an element of a fill */
#define REFLECTORS 16  /* in a tile: a cache line of float32 */
#define ELEMENTS 32768 /* in a tile of an elementwise operation, or one row of that many */

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- product ------------------------------------------------------------------------------------------ */

typedef struct {
    const fi_isa *isa;
    fi_product product;   /* of one slab */
    int64_t down, across; /* tiles */
    char *scratch;
} product_job;

/* Where part i of `parts` begins: parts as even as whole units allow. */
static int64_t cut(int64_t length, int64_t unit, int64_t i, int64_t parts) {
    return fi_least(length, ceil_div(length, unit) * i / parts * unit);
}

static void do_product_tile(const void *context, uint64_t tile, int thread) {
    const product_job *j = context;
    const int64_t size = (int64_t)fi_item_size(j->product.dtype);
    const int64_t i = (int64_t)tile / j->across, k = (int64_t)tile % j->across;
    fi_product p = j->product;
    const int64_t row = cut(p.rows, ROW_UNIT, i, j->down), column = cut(p.columns, COLUMN_UNIT, k, j->across);
    p.rows = cut(p.rows, ROW_UNIT, i + 1, j->down) - row;
    p.columns = cut(p.columns, COLUMN_UNIT, k + 1, j->across) - column;
    p.a += row * p.a_row * size;
    p.b += column * p.b_column * size;
    p.c += (row * p.c_row + column) * size;
    p.row_reach += row;
    p.column_reach += column;
    p.diagonal += column - row;
    j->isa->multiply(&p, j->scratch + (int64_t)thread * FI_SCRATCH);
}

int fi_multiply(const fi_isa *isa, const fi_product *product, char *scratch, int threads, fi_poll poll, void *context) {
    const int64_t size = (int64_t)fi_item_size(product->dtype), depth = product->depth;
    if (product->rows == 0 || product->columns == 0)
        return 0;
    product_job j = {.isa = isa,
                     .product = *product,
                     .down = ceil_div(product->rows, FI_SCRATCH_A / FI_PITCH / size),
                     .across = ceil_div(product->columns, MOST_COLUMNS),
                     .scratch = scratch};
    const int64_t slab = fi_least(SLAB, isa->terms / (LEAST_ROWS * LEAST_COLUMNS) / FI_DEPTH * FI_DEPTH);
    const int64_t at_once = isa->terms / fi_least(slab, depth > 0 ? depth : 1);
    /* half of a triangle's tiles are empty */
    const int64_t least = threads > 1 ? threads * TILES_A_THREAD * (product->diagonal < FI_ALL ? 4 : 1) : 1;
    int64_t tiles;
    while (tiles = j.down * j.across,
           tiles < least || (tiles < 2 * least && tiles % threads) ||
               ceil_div(product->rows, j.down) * ceil_div(product->columns, j.across) > at_once) {
        const int64_t rows = product->rows / (j.down + 1), columns = product->columns / (j.across + 1);
        if (columns >= LEAST_COLUMNS && (columns >= rows || rows < LEAST_ROWS))
            j.across++;
        else if (rows >= LEAST_ROWS)
            j.down++;
        else
            break;
    }
    for (int64_t first = 0; first == 0 || first < depth; first += slab) {
        fi_product *p = &j.product;
        p->depth = fi_least(depth - first, slab);
        p->a = product->a + first * product->a_depth * size;
        p->b = product->b + first * product->b_depth * size;
        p->row_reach = product->row_reach - first;
        p->column_reach = product->column_reach - first;
        p->update = first && product->update == FI_SET ? FI_ADD : product->update;
        const uint64_t terms = (uint64_t)p->rows * (uint64_t)p->columns * (uint64_t)p->depth;
        const int stopped =
            fi_parallel(do_product_tile, &j, (uint64_t)tiles, terms / PER_ELEMENT, threads, poll, context);
        if (stopped)
            return stopped;
    }
    return 0;
}

/* ---- reflectors --------------------------------------------------------------------------------------- */

typedef struct {
    fi_dtype dtype;
    void *v;
    int64_t rows, columns, pitch;
    double *signs;
} reflector_job;

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

static void do_reflector_tile(const void *context, uint64_t tile, int thread) {
    const reflector_job *j = context;
    const int64_t first = (int64_t)tile * REFLECTORS, columns = fi_least(j->columns - first, REFLECTORS);
    (void)thread;
    if (j->dtype == FI_FLOAT64)
        reflectors_f64((double *)j->v + first, j->rows, columns, j->pitch, first, j->signs + first);
    else
        reflectors_f32((float *)j->v + first, j->rows, columns, j->pitch, first, j->signs + first);
}

int fi_reflectors(fi_dtype dtype, void *v, int64_t rows, int64_t columns, int64_t pitch, double *signs, int threads,
                  fi_poll poll, void *context) {
    const reflector_job j = {dtype, v, rows, columns, pitch, signs};
    return fi_parallel(do_reflector_tile, &j, (uint64_t)ceil_div(columns, REFLECTORS), (uint64_t)(rows * columns),
                       threads, poll, context);
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

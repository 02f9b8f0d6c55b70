/* product.c - cuts matrix products into tiles. */
#include "parallel.h"
#include "steps.h"

/* A product's tile: multiples of every TILE_ROWS and of every TILE_COLUMNS, and the longest run of terms that it sums
 * between two looks for a signal. Measured: docs/performance.md, "Orthogonal matrices". */
#define MOST_COLUMNS 1008
#define ROW_UNIT 8
#define COLUMN_UNIT 48
#define LEAST_ROWS 64
#define LEAST_ROWS_DEEP 32 /* where few long sums would keep all threads waiting */
#define LEAST_COLUMNS 96
#define SLAB (4 * FI_DEPTH)
#define PER_ELEMENT 64 /* terms of a product for which a second thread is as worthwhile as for an element of a fill */

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Where part i of `parts` begins: parts as even as whole units allow. */
static int64_t cut(int64_t length, int64_t unit, int64_t i, int64_t parts) {
    return fi_least(length, ceil_div(length, unit) * i / parts * unit);
}

static void do_product_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_multiplication *m = context;
    const int64_t size = (int64_t)fi_item_size(m->product.dtype);
    const int64_t number = (int64_t)tile / (m->down * m->across);
    const int64_t i = (int64_t)tile / m->across % m->down, k = (int64_t)tile % m->across;
    fi_product p = m->product;
    const int64_t row = cut(p.rows, ROW_UNIT, i, m->down), column = cut(p.columns, COLUMN_UNIT, k, m->across);
    p.rows = cut(p.rows, ROW_UNIT, i + 1, m->down) - row;
    p.columns = cut(p.columns, COLUMN_UNIT, k + 1, m->across) - column;
    p.diagonal += column - row;
    if (p.columns - 1 + p.diagonal < 0) /* nothing is wanted */
        return;
    p.a += number * m->a_step + row * p.a_row * size;
    p.b += number * m->b_step + column * p.b_column * size;
    p.c += number * m->c_step + (row * p.c_row + column) * size;
    p.row_reach += row;
    p.column_reach += column;
    const int64_t depth = p.depth;
    for (int64_t first = 0; first == 0 || first < depth; first += m->slab) {
        p.depth = fi_least(depth - first, m->slab);
        worker->packed += m->isa->multiply(&p, m->scratch + (int64_t)worker->number * FI_SCRATCH);
        if (fi_look(worker))
            return;
        p.a += m->slab * p.a_depth * size;
        p.b += m->slab * p.b_depth * size;
        p.row_reach -= m->slab;
        p.column_reach -= m->slab;
        if (p.update == FI_SET)
            p.update = FI_ADD;
    }
}

int64_t fi_terms(const fi_multiplication *m) {
    return m->count * m->product.rows * m->product.columns * m->product.depth;
}

fi_task fi_product_task(fi_multiplication *m, const fi_isa *isa, char *scratch, int64_t least, int threads) {
    const fi_product *p = &m->product;
    const int64_t size = (int64_t)fi_item_size(p->dtype);
    if (p->rows == 0 || p->columns == 0 || m->count == 0)
        return (fi_task){0};
    m->isa = isa;
    m->scratch = scratch;
    m->down = ceil_div(p->rows, FI_SCRATCH_A / FI_PITCH / size);
    m->across = ceil_div(p->columns, MOST_COLUMNS);
    m->slab = fi_least(SLAB, isa->terms / (LEAST_ROWS * LEAST_COLUMNS) / FI_DEPTH * FI_DEPTH);
    const int64_t least_rows = p->depth > SLAB && p->columns < 2 * LEAST_COLUMNS ? LEAST_ROWS_DEEP : LEAST_ROWS;
    const int64_t at_once = isa->terms / fi_least(m->slab, p->depth > 0 ? p->depth : 1);
    if (least > 1 && p->diagonal < FI_ALL)
        least *= 2; /* half of a triangle's tiles are empty */
    int64_t tiles;
    while (tiles = m->down * m->across * m->count,
           tiles < least || (tiles < 2 * least && tiles % threads) ||
               ceil_div(p->rows, m->down) * ceil_div(p->columns, m->across) > at_once) {
        const int64_t rows = p->rows / (m->down + 1), columns = p->columns / (m->across + 1);
        if (columns >= LEAST_COLUMNS && (columns >= rows || rows < least_rows))
            m->across++;
        else if (rows >= least_rows)
            m->down++;
        else
            break;
    }
    return (fi_task){do_product_tile, m, (uint64_t)tiles, (uint64_t)(fi_terms(m) / PER_ELEMENT)};
}

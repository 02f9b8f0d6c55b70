/* product.h - a matrix product whose sums have a written order (docs/stream.md, "Sums").
 *
 * Opened twice by template.h, with these parameters:
 *   REAL         float or double
 *   VECTOR       f32v or f64v, WIDTH of them in a vector
 *   OP(name)     the lane operation of that name on them
 *   SUFFIX       f32 or f64
 * and TILE_ROWS from lanes_<ISA>.h.
 *
 * The scheme is that of Goto and van de Geijn (ACM TOMS 34, 2008): blocks of A and B are copied to where they lie in
 * the order of use, and a tile of C stays in registers for a whole block of the sum. None of it touches the order in
 * which an element's terms are added. */

#define TILE_COLUMNS (TILE_VECTORS * WIDTH)
#define PFN2(name, suffix) FN(JOIN(name, suffix))
#define PFN(name) PFN2(name, SUFFIX)

/* A tile's sums into C. */
LANE void PFN(put)(VECTOR sum[TILE_ROWS][TILE_VECTORS], REAL *c, int64_t c_row, fi_update update) {
    UNROLL
    for (int i = 0; i < TILE_ROWS; i++, c += c_row) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++) {
            const VECTOR old = update == FI_SET ? OP(set)(0) : OP(load)(c + v * WIDTH);
            OP(store)(c + v * WIDTH, update == FI_SUBTRACT ? OP(sub)(old, sum[i][v]) : OP(add)(old, sum[i][v]));
        }
    }
}
LANE void PFN(put_as)(VECTOR sum[TILE_ROWS][TILE_VECTORS], REAL *c, int64_t c_row, fi_update update) {
    if (update == FI_ADD)
        PFN(put)(sum, c, c_row, FI_ADD);
    else if (update == FI_SUBTRACT)
        PFN(put)(sum, c, c_row, FI_SUBTRACT);
    else
        PFN(put)(sum, c, c_row, FI_SET);
}

/* One tile of C: terms of one block of the sum in ascending order from 0, then C += or -= the sum. Element (i, k) of A
 * lies at i * row + k * step, row k of B at k * TILE_COLUMNS; both are padded to whole tiles. */
LANE void PFN(tile)(int64_t depth, const REAL *a, int64_t row, int64_t step, const REAL *b, REAL *c, int64_t c_row,
                    int64_t rows, int64_t columns, fi_update update) {
    VECTOR sum[TILE_ROWS][TILE_VECTORS];
    UNROLL
    for (int i = 0; i < TILE_ROWS; i++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[i][v] = OP(set)(0);
    }
    const int whole = rows == TILE_ROWS && columns == TILE_COLUMNS;
    if (whole) { /* the lines of C, while the sum is made */
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < TILE_COLUMNS; j += 64 / (int)sizeof(REAL))
                __builtin_prefetch(c + i * c_row + j, 1);
    }
    for (int64_t k = 0; k < depth; k++, a += step, b += TILE_COLUMNS) {
        VECTOR term[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            term[v] = OP(load)(b + v * WIDTH);
        UNROLL
        for (int i = 0; i < TILE_ROWS; i++) {
            const VECTOR factor = OP(set)(a[i * row]);
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[i][v] = OP(fma)(factor, term[v], sum[i][v]);
        }
    }
    if (whole) {
        PFN(put_as)(sum, c, c_row, update);
        return;
    }
    REAL edge[TILE_ROWS * TILE_COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            edge[i * TILE_COLUMNS + j] = c[i * c_row + j];
    PFN(put_as)(sum, edge, TILE_COLUMNS, update);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * c_row + j] = edge[i * TILE_COLUMNS + j];
}
/* A copied so that the rows of a tile are neighbours, or so that the terms of a row are: whichever it was already. */
static void __attribute__((noinline)) PFN(tile_by_terms)(int64_t depth, const REAL *a, const REAL *b, REAL *c,
                                                         int64_t c_row, int64_t rows, int64_t columns,
                                                         fi_update update) {
    PFN(tile)(depth, a, 1, TILE_ROWS, b, c, c_row, rows, columns, update);
}
static void __attribute__((noinline)) PFN(tile_by_rows)(int64_t depth, const REAL *a, const REAL *b, REAL *c,
                                                        int64_t c_row, int64_t rows, int64_t columns,
                                                        fi_update update) {
    PFN(tile)(depth, a, FI_PITCH, 1, b, c, c_row, rows, columns, update);
}

static void PFN(pack_a)(const fi_product *p, int64_t first, int64_t depth, int by_rows, REAL *to) {
    const REAL *a = (const REAL *)p->a + first * p->a_depth;
    for (int64_t i = 0; i < p->rows; i += TILE_ROWS, to += TILE_ROWS * FI_PITCH) {
        const int64_t rows = fi_least(p->rows - i, TILE_ROWS);
        if (rows < TILE_ROWS)
            memset(to, 0, TILE_ROWS * FI_PITCH * sizeof(REAL));
        if (by_rows)
            for (int64_t r = 0; r < rows; r++)
                memcpy(to + r * FI_PITCH, a + (i + r) * p->a_row, (size_t)depth * sizeof(REAL));
        else if (rows == TILE_ROWS && p->a_row == 1)
            for (int64_t k = 0; k < depth; k++)
                memcpy(to + k * TILE_ROWS, a + i + k * p->a_depth, TILE_ROWS * sizeof(REAL));
        else
            for (int64_t k = 0; k < depth; k++)
                for (int64_t r = 0; r < rows; r++)
                    to[k * TILE_ROWS + r] = a[(i + r) * p->a_row + k * p->a_depth];
    }
}

/* A few tiles' columns of B, one tile after the other: a row's elements are read together. */
static void PFN(pack_b)(const fi_product *p, int64_t first, int64_t depth, int64_t column, int64_t columns, REAL *to) {
    const REAL *b = (const REAL *)p->b + first * p->b_depth + column * p->b_column;
    const int64_t whole = p->b_column == 1 ? columns / TILE_COLUMNS * TILE_COLUMNS : 0;
    for (int64_t k = 0; k < depth; k++)
        for (int64_t j = 0; j < whole; j += TILE_COLUMNS) {
            REAL *row = to + j * depth + k * TILE_COLUMNS;
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++)
                OP(store)(row + v * WIDTH, OP(load)(b + k * p->b_depth + j + v * WIDTH));
        }
    for (int64_t j = whole; j < columns; j += TILE_COLUMNS) {
        const int64_t n = fi_least(columns - j, TILE_COLUMNS);
        REAL *tile = to + j * depth;
        if (n < TILE_COLUMNS)
            memset(tile, 0, (size_t)depth * TILE_COLUMNS * sizeof(REAL));
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < depth; k++)
                tile[k * TILE_COLUMNS + i] = b[k * p->b_depth + (j + i) * p->b_column];
    }
}

static size_t PFN(multiply)(const fi_product *p, char *scratch) {
    size_t packed = 0;
    REAL *a = (REAL *)scratch, *b = (REAL *)(scratch + FI_SCRATCH_A);
    const int by_rows = p->a_depth == 1;
    for (int64_t first = 0; first == 0 || first < p->depth; first += FI_DEPTH) {
        const int64_t depth = fi_least(p->depth - first, FI_DEPTH);
        const fi_update update = first && p->update == FI_SET ? FI_ADD : p->update;
        PFN(pack_a)(p, first, depth, by_rows, a);
        for (int64_t group = 0; group < p->columns; group += FI_GROUP * TILE_COLUMNS) {
            const int64_t end = fi_least(p->columns, group + FI_GROUP * TILE_COLUMNS);
            if (end - 1 + p->column_reach <= first || end - 1 + p->diagonal < 0)
                continue;
            PFN(pack_b)(p, first, depth, group, end - group, b);
            packed += (size_t)((end - group) * depth) * sizeof(REAL);
            for (int64_t i = 0; i < p->rows; i += TILE_ROWS)
                for (int64_t j = group; j < end; j += TILE_COLUMNS) {
                    const int64_t rows = fi_least(p->rows - i, TILE_ROWS), columns = fi_least(end - j, TILE_COLUMNS);
                    const int64_t reach = fi_least(i + rows - 1 + p->row_reach, j + columns - 1 + p->column_reach);
                    if (reach <= first || i > j + columns - 1 + p->diagonal)
                        continue;
                    (by_rows ? PFN(tile_by_rows) : PFN(tile_by_terms))(
                        fi_least(depth, reach - first), a + i * FI_PITCH, b + (j - group) * depth,
                        (REAL *)p->c + i * p->c_row + j, p->c_row, rows, columns, update);
                }
        }
    }
    return packed;
}

#undef TILE_COLUMNS
#undef PFN
#undef PFN2

/* cuda_product.h - a matrix product whose sums have a written order (docs/stream.md, "Sums"), for a block of threads.
 *
 * A block makes a tile of C. Each of its 16 x 16 threads has EACH x EACH elements of it in registers, as two halves per
 * side, so that neighbours read and write neighbours; the next slice of A and B is on its way while one is used.
 * Measured as a sketch on an H200: 39.5 TFLOP/s for 4096^3 in float32, where cuBLAS had 50.7. */

constexpr int TILE = DTYPE == FI_FLOAT64 ? 64 : 128, EACH = TILE / 16, HALF = EACH / 2; /* HALF: 16 bytes */
constexpr int SLICE = 16;          /* terms that are in shared memory at a time */
constexpr int PITCH = TILE + HALF; /* of a term there: terms begin in different banks */
constexpr int LOADS = TILE * SLICE / THREADS;

/* Element (i, j) of matrix number b lies at i * down + j * across + b * next, in elements. */
typedef struct {
    REAL *at;
    int64_t down, across, next;
} fi_matrix;

/* C = A B, C += A B or C -= A B, of `batch` matrices each. As fi_product: terms from k = row + row_reach or
 * column + column_reach on are zeros; elements whose row is beyond column + diagonal are not wanted.
 *
 * With `partial`, only runs first_run .. first_run + runs - 1 of the terms are summed, side by side, each to a matrix
 * of rows x columns there; `combine` then adds them to C in order. That is for products of few tiles and many terms. */
typedef struct {
    fi_matrix a, b, c;
    int64_t rows, columns, depth, batch;
    int64_t update, row_reach, column_reach, diagonal;
    REAL *partial;
    int64_t first_run, runs;
} fi_multiply;

/* A slice of A or B: `lines` rows of A or columns of B, by terms. */
typedef struct {
    const REAL *at;     /* the thread's first element */
    int64_t term, jump; /* steps to the next term, and to the thread's next element */
    int line, lines, to_line;
    int deep, to_deep;
} slicing;

LANE slicing slicing_of(const REAL *at, int64_t line_step, int64_t term_step, int64_t lines) {
    slicing s;
    const int t = threadIdx.x, along_terms = term_step == 1;
    s.line = along_terms ? t / SLICE : t % TILE;
    s.deep = along_terms ? t % SLICE : t / TILE;
    s.to_line = along_terms ? THREADS / SLICE : 0;
    s.to_deep = along_terms ? 0 : THREADS / TILE;
    s.lines = (int)(lines < TILE ? lines : TILE);
    s.at = at + s.line * line_step + s.deep * term_step;
    s.term = term_step;
    s.jump = s.to_line * line_step + s.to_deep * term_step;
    return s;
}

/* The thread's elements of the slice from term k on; zeros beyond the operand, which change no sum. */
LANE void take(REAL *to, const slicing *s, int64_t k, int64_t end) {
    const REAL *from = s->at + k * s->term;
    const int depth = (int)(end - k < SLICE ? end - k : SLICE);
    UNROLL
    for (int e = 0; e < LOADS; e++) {
        const int is_there = s->line + e * s->to_line < s->lines && s->deep + e * s->to_deep < depth;
        to[e] = is_there ? from[e * s->jump] : (REAL)0;
    }
}

LANE void lay(REAL *shared, const slicing *s, const REAL *taken) {
    UNROLL
    for (int e = 0; e < LOADS; e++)
        shared[(s->deep + e * s->to_deep) * PITCH + s->line + e * s->to_line] = taken[e];
}

/* Where in a tile a thread's element i of a side is. */
LANE int in_tile(int thread, int i) { return i < HALF ? thread * HALF + i : TILE / 2 + thread * HALF + i - HALF; }

/* The thread's elements of one term. */
LANE void fetch(REAL *to, const REAL *term, int thread) {
    *(uint4 *)to = *(const uint4 *)(term + thread * HALF);
    *(uint4 *)(to + HALF) = *(const uint4 *)(term + TILE / 2 + thread * HALF);
}

/* A tile in memory. */
typedef struct {
    REAL *at;
    int64_t down, across;
    int rows, columns;
    int by_lines; /* whole, and 16 bytes of neighbours can be read and written at a time */
} tile;

LANE tile tile_of(REAL *at, int64_t down, int64_t across, int64_t rows, int64_t columns) {
    tile t = {at, down, across, (int)(rows < TILE ? rows : TILE), (int)(columns < TILE ? columns : TILE), 0};
    t.by_lines =
        t.rows == TILE && t.columns == TILE && across == 1 && (((size_t)at | (size_t)down * sizeof(REAL)) & 15) == 0;
    return t;
}

LANE void read_tile(REAL (*to)[EACH], const tile *t, int x, int y) {
    UNROLL
    for (int i = 0; i < EACH; i++) {
        const int row = in_tile(y, i);
        REAL *from = t->at + row * t->down;
        if (t->by_lines) {
            fetch(to[i], from, x);
            continue;
        }
        UNROLL
        for (int j = 0; j < EACH; j++) {
            const int column = in_tile(x, j);
            to[i][j] = row < t->rows && column < t->columns ? from[column * t->across] : (REAL)0;
        }
    }
}

LANE void write_tile(const tile *t, const REAL (*from)[EACH], int x, int y) {
    UNROLL
    for (int i = 0; i < EACH; i++) {
        const int row = in_tile(y, i);
        REAL *to = t->at + row * t->down;
        if (t->by_lines) {
            *(uint4 *)(to + x * HALF) = *(const uint4 *)from[i];
            *(uint4 *)(to + TILE / 2 + x * HALF) = *(const uint4 *)(from[i] + HALF);
            continue;
        }
        UNROLL
        for (int j = 0; j < EACH; j++) {
            const int column = in_tile(x, j);
            if (row < t->rows && column < t->columns)
                to[column * t->across] = from[i][j];
        }
    }
}

LANE REAL updated(REAL old, REAL sum, int64_t update) { return update == FI_SUBTRACT ? sub(old, sum) : add(old, sum); }

/* Whether any element of the tile that begins at (i, j) is wanted. */
LANE int is_wanted(const fi_multiply *p, int64_t i, int64_t j) {
    const int64_t last = j + TILE < p->columns ? j + TILE : p->columns;
    return i <= last - 1 + p->diagonal;
}

LANE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Unit `unit` of the product: a tile, or with `partial` a run of its terms. */
LANE void multiply(const fi_multiply *p, int64_t unit, REAL *shared) {
    const int64_t across = (p->columns + TILE - 1) / TILE, down = (p->rows + TILE - 1) / TILE;
    const int64_t row = unit / across % down * TILE, column = unit % across * TILE;
    const int64_t number = unit / (across * down) % p->batch, run = unit / (across * down * p->batch);
    if (!is_wanted(p, row, column))
        return;
    const int64_t rows = p->rows - row, columns = p->columns - column;
    int64_t first = 0, end = least(p->depth, least(row + least(rows, TILE) - 1 + p->row_reach,
                                                   column + least(columns, TILE) - 1 + p->column_reach));
    REAL *c = p->c.at + row * p->c.down + column * p->c.across + number * p->c.next;
    tile target = tile_of(c, p->c.down, p->c.across, rows, columns);
    if (p->partial) {
        first = (p->first_run + run) * FI_DEPTH;
        end = least(end, first + FI_DEPTH);
        c = p->partial + (run * p->batch + number) * p->rows * p->columns + row * p->columns + column;
        target = tile_of(c, p->columns, 1, rows, columns);
    }
    const slicing from_a = slicing_of(p->a.at + row * p->a.down + number * p->a.next, p->a.down, p->a.across, rows);
    const slicing from_b =
        slicing_of(p->b.at + column * p->b.across + number * p->b.next, p->b.across, p->b.down, columns);
    const int64_t update = p->partial ? (int64_t)FI_SET : p->update;
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;

    alignas(16) REAL sum[EACH][EACH], total[EACH][EACH];
    UNROLL
    for (int i = 0; i < EACH; i++) {
        UNROLL
        for (int j = 0; j < EACH; j++)
            sum[i][j] = total[i][j] = 0;
    }
    if (update != FI_SET)
        read_tile(total, &target, x, y);

    REAL a[LOADS], b[LOADS], *as = shared, *bs = shared + SLICE * PITCH;
    const int other = 2 * SLICE * PITCH; /* the slice that is used, and the one that is laid out meanwhile */
    int64_t k = first;
    int odd = 0;
    if (k < end) {
        take(a, &from_a, k, end);
        take(b, &from_b, k, end);
        lay(as, &from_a, a);
        lay(bs, &from_b, b);
    }
    __syncthreads();
    while (k < end) {
        const int64_t next = k + SLICE;
        if (next < end) {
            take(a, &from_a, next, end);
            take(b, &from_b, next, end);
        }
        UNROLL
        for (int term = 0; term < SLICE; term++) {
            alignas(16) REAL left[EACH], right[EACH];
            fetch(left, as + odd * other + term * PITCH, y);
            fetch(right, bs + odd * other + term * PITCH, x);
            UNROLL
            for (int i = 0; i < EACH; i++) {
                UNROLL
                for (int j = 0; j < EACH; j++)
                    sum[i][j] = fused(left[i], right[j], sum[i][j]);
            }
        }
        if (next % FI_DEPTH == 0 || next >= end) {
            UNROLL
            for (int i = 0; i < EACH; i++) {
                UNROLL
                for (int j = 0; j < EACH; j++) {
                    total[i][j] = updated(total[i][j], sum[i][j], update);
                    sum[i][j] = 0;
                }
            }
        }
        odd ^= 1;
        if (next < end) {
            lay(as + odd * other, &from_a, a);
            lay(bs + odd * other, &from_b, b);
        }
        __syncthreads();
        k = next;
    }
    write_tile(&target, total, x, y);
}

/* The sums of runs into C, in order. Unit `unit` is ELEMENTS of them. */
LANE void combine(const fi_multiply *p, int64_t unit) {
    const int64_t size = p->rows * p->columns, all = size * p->batch;
    for (int64_t e = unit * ELEMENTS + threadIdx.x; e < least(all, (unit + 1) * ELEMENTS); e += THREADS) {
        uint64_t row = (uint64_t)e;
        const int64_t column = (int64_t)divide(&row, (uint64_t)p->columns);
        uint64_t number = row;
        row = divide(&number, (uint64_t)p->rows);
        if (!is_wanted(p, (int64_t)row / TILE * TILE, column / TILE * TILE))
            continue;
        REAL *c = p->c.at + (int64_t)row * p->c.down + column * p->c.across + (int64_t)number * p->c.next;
        REAL total = p->update == FI_SET ? (REAL)0 : *c;
        for (int64_t run = 0; run < p->runs; run++)
            total = updated(total, p->partial[run * all + e], p->update);
        *c = total;
    }
}

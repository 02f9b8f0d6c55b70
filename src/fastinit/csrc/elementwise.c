/* elementwise.c - matrices scaled, rounded and put where memory has their elements; and added up in float64. */
#include <string.h>

#include "fastinit.h"
#include "fpenv.h"
#include "parallel.h"
#include "placing.h"
#include "round.h"

#define ELEMENTS 32768 /* in a tile, or one row of that many */
#define BLOCK_ROWS 128 /* of a tile whose elements are read or written one by one */
#define BLOCK_COLUMNS 256

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

typedef struct {
    const void *what;
    int64_t rows, columns;
    int64_t down, across; /* rows and columns of a tile */
} tiling;

/* The rows and columns of a tile. */
typedef struct {
    int64_t top, bottom, left, count;
} part;

static part part_of(const tiling *t, uint64_t tile) {
    const int64_t across = ceil_div(t->columns, t->across);
    const int64_t top = (int64_t)tile / across * t->down, left = (int64_t)tile % across * t->across;
    return (part){top, fi_least(t->rows, top + t->down), left, fi_least(t->columns - left, t->across)};
}

static int elementwise(fi_tile do_tile, tiling *t, int in_blocks, int threads, fi_poll poll, void *context) {
    if (t->rows == 0 || t->columns == 0)
        return 0;
    t->across = fi_least(t->columns, in_blocks ? BLOCK_COLUMNS : ELEMENTS);
    t->down = fi_least(t->rows, in_blocks ? BLOCK_ROWS : ELEMENTS / t->across);
    const int64_t tiles = ceil_div(t->rows, t->down) * ceil_div(t->columns, t->across);
    return fi_parallel(do_tile, t, (uint64_t)tiles, (uint64_t)(t->rows * t->columns), threads, poll, context);
}

/* ---- scale -------------------------------------------------------------------------------------------- */

static inline int64_t offset_of(const fi_offsets *along, int64_t i) {
    return along->table ? along->table[i] : along->step * i;
}

/* Neighbours to neighbours. */
static void scale_run(const fi_scaling *s, const void *in, void *out, int64_t n) {
    const float *narrow_in = in;
    const double *wide_in = in;
    uint16_t *half = out;
    const float gain = (float)s->gain;
    if (s->to == FI_FLOAT64) {
        for (int64_t i = 0; i < n; i++)
            ((double *)out)[i] = s->gain * wide_in[i];
    } else if (s->from == FI_FLOAT64) {
        for (int64_t i = 0; i < n; i++)
            ((float *)out)[i] = (float)(s->gain * wide_in[i]);
    } else if (s->to == FI_FLOAT32) {
        for (int64_t i = 0; i < n; i++)
            ((float *)out)[i] = gain * narrow_in[i];
    } else if (s->to == FI_FLOAT16) {
        for (int64_t i = 0; i < n; i++)
            half[i] = fi_float16_of_float(gain * narrow_in[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            half[i] = (uint16_t)(fi_bfloat16_upper(fi_bits_of_float(gain * narrow_in[i])) >> 16);
    }
}

static int is_run(const fi_offsets *along, fi_dtype dtype) {
    return !along->table && (along->step == (int64_t)fi_item_size(dtype) || along->count == 1);
}

static void gather_elements(char *to, const char *from, const fi_offsets *along, part p, size_t size) {
    if (!along->table)
        copy_elements(to, (int64_t)size, from + p.left * along->step, along->step, size, p.count);
    else
        for (int64_t i = 0; i < p.count; i++)
            copy_elements(to + i * (int64_t)size, 0, from + along->table[p.left + i], 0, size, 1);
}

static void scatter_elements(char *to, const fi_offsets *along, part p, const char *from, size_t size) {
    if (!along->table)
        copy_elements(to + p.left * along->step, along->step, from, (int64_t)size, size, p.count);
    else
        for (int64_t i = 0; i < p.count; i++)
            copy_elements(to + along->table[p.left + i], 0, from + i * (int64_t)size, 0, size, 1);
}

static void do_scale_tile(const void *context, uint64_t tile, int thread) {
    const tiling *t = context;
    const fi_scaling *s = t->what;
    const part p = part_of(t, tile);
    const size_t size = fi_item_size(s->from), to_size = fi_item_size(s->to);
    const int gather = !is_run(&s->in_columns, s->from), scatter = !is_run(&s->out_columns, s->to);
    char source[BLOCK_COLUMNS * 8], result[BLOCK_COLUMNS * 8];
    (void)thread;
    for (int64_t row = p.top; row < p.bottom; row++) {
        const char *in = s->in + offset_of(&s->in_rows, row);
        char *out = s->out + offset_of(&s->out_rows, row);
        if (gather)
            gather_elements(source, in, &s->in_columns, p, size);
        scale_run(s, gather ? source : in + offset_of(&s->in_columns, p.left),
                  scatter ? result : out + offset_of(&s->out_columns, p.left), p.count);
        if (scatter)
            scatter_elements(out, &s->out_columns, p, result, to_size);
    }
}

static fi_scaling transposed(const fi_scaling *s) {
    fi_scaling t = *s;
    t.in_rows = s->in_columns, t.in_columns = s->in_rows;
    t.out_rows = s->out_columns, t.out_columns = s->out_rows;
    return t;
}

int fi_scale(const fi_scaling *scaling, int threads, fi_poll poll, void *context) {
    /* memory is written along its rows, if it has any */
    const int across = !is_run(&scaling->out_columns, scaling->to) && is_run(&scaling->out_rows, scaling->to);
    const fi_scaling s = across ? transposed(scaling) : *scaling;
    tiling t = {.what = &s, .rows = s.in_rows.count, .columns = s.in_columns.count};
    const int in_blocks = !is_run(&s.in_columns, s.from) || !is_run(&s.out_columns, s.to);
    return elementwise(do_scale_tile, &t, in_blocks, threads, poll, context);
}

/* ---- accumulate --------------------------------------------------------------------------------------- */

typedef struct {
    fi_dtype dtype;
    const char *addend;
    int64_t addend_pitch;
    double *sum;
    int64_t sum_pitch;
} accumulation;

static void do_accumulate_tile(const void *context, uint64_t tile, int thread) {
    const tiling *t = context;
    const accumulation *a = t->what;
    const part p = part_of(t, tile);
    (void)thread;
    for (int64_t row = p.top; row < p.bottom; row++) {
        const int64_t from = row * a->addend_pitch + p.left;
        double *sum = a->sum + row * a->sum_pitch + p.left;
        if (a->dtype == FI_FLOAT64)
            for (int64_t i = 0; i < p.count; i++)
                sum[i] += ((const double *)a->addend + from)[i];
        else
            for (int64_t i = 0; i < p.count; i++)
                sum[i] += (double)((const float *)a->addend + from)[i];
    }
}

int fi_accumulate(fi_dtype dtype, const void *addend, int64_t addend_pitch, double *sum, int64_t sum_pitch,
                  int64_t rows, int64_t columns, int threads, fi_poll poll, void *context) {
    const accumulation a = {dtype, addend, addend_pitch, sum, sum_pitch};
    tiling t = {.what = &a, .rows = rows, .columns = columns};
    return elementwise(do_accumulate_tile, &t, 0, threads, poll, context);
}

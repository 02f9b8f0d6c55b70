/* elementwise.c - matrices scaled, rounded and put where memory has their elements; and added up in float64. */
#include <string.h>

#include "placing.h"
#include "round.h"
#include "steps.h"

#define ELEMENTS 32768 /* in a tile, or one row of that many */
#define BLOCK_ROWS 128 /* of a tile whose elements are read or written one by one */
#define BLOCK_COLUMNS 256

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The rows and columns of a tile. */
typedef struct {
    int64_t top, bottom, left, count;
} part;

static part part_of(int64_t rows, int64_t columns, int64_t down, int64_t across, uint64_t tile) {
    const int64_t parts = ceil_div(columns, across);
    const int64_t top = (int64_t)tile / parts * down, left = (int64_t)tile % parts * across;
    return (part){top, fi_least(rows, top + down), left, fi_least(columns - left, across)};
}

static uint64_t parts_of(int64_t rows, int64_t columns, int64_t down, int64_t across) {
    return (uint64_t)(ceil_div(rows, down) * ceil_div(columns, across));
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

static void do_scale_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_scaling *s = context;
    const part p = part_of(s->in_rows.count, s->in_columns.count, s->down, s->across, tile);
    const size_t size = fi_item_size(s->from), to_size = fi_item_size(s->to);
    const int gather = !is_run(&s->in_columns, s->from), scatter = !is_run(&s->out_columns, s->to);
    char source[BLOCK_COLUMNS * 8], result[BLOCK_COLUMNS * 8];
    (void)worker;
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

static void transpose(fi_scaling *s) {
    const fi_offsets in = s->in_rows, out = s->out_rows;
    s->in_rows = s->in_columns, s->in_columns = in;
    s->out_rows = s->out_columns, s->out_columns = out;
}

fi_task fi_scale_task(fi_scaling *s) {
    if (s->in_rows.count == 0 || s->in_columns.count == 0)
        return (fi_task){0};
    if (!is_run(&s->out_columns, s->to) && is_run(&s->out_rows, s->to))
        transpose(s); /* memory is written along its rows */
    const int in_runs = is_run(&s->in_columns, s->from) && is_run(&s->out_columns, s->to);
    const int64_t rows = s->in_rows.count, columns = s->in_columns.count;
    s->across = fi_least(columns, in_runs ? ELEMENTS : BLOCK_COLUMNS);
    s->down = fi_least(rows, in_runs ? ELEMENTS / s->across : BLOCK_ROWS);
    return (fi_task){do_scale_tile, s, parts_of(rows, columns, s->down, s->across), (uint64_t)(rows * columns)};
}

/* ---- accumulate --------------------------------------------------------------------------------------- */

static void do_accumulate_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const fi_accumulation *a = context;
    const part p = part_of(a->rows, a->columns, a->down, a->across, tile);
    (void)worker;
    for (int64_t row = p.top; row < p.bottom; row++) {
        double *sum = a->sum + row * a->sum_pitch + p.left;
        const int64_t first = row * a->pitch + p.left;
        for (int64_t k = 0; k < a->count; k++) {
            const char *addend = a->addends + k * a->step;
            if (a->dtype == FI_FLOAT64)
                for (int64_t i = 0; i < p.count; i++)
                    sum[i] += ((const double *)(const void *)addend + first)[i];
            else
                for (int64_t i = 0; i < p.count; i++)
                    sum[i] += (double)((const float *)(const void *)addend + first)[i];
        }
    }
}

fi_task fi_accumulate_task(fi_accumulation *a) {
    if (a->rows == 0 || a->columns == 0 || a->count == 0)
        return (fi_task){0};
    const int64_t elements = fi_least(ELEMENTS, ELEMENTS * 4 / a->count + 64);
    a->across = fi_least(a->columns, elements);
    a->down = fi_least(a->rows, elements / a->across);
    return (fi_task){do_accumulate_tile, a, parts_of(a->rows, a->columns, a->down, a->across),
                     (uint64_t)(a->rows * a->columns * a->count)};
}

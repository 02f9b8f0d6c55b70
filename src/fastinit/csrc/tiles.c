/* tiles.c - cuts plans into tiles.
 *
 * Tiles are numbered in the order of memory, so that consecutive ones share pages. */
#define _DEFAULT_SOURCE /* madvise, mincore */
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"
#include "pages.h"
#include "parallel.h"

/* Elements of a tile. Measured: benchmarks/README.md, "Tiles and threads". */
#define RUN_TILE 16384   /* of a run of flat indices that are neighbours in memory, or along one axis */
#define ACROSS_RUN 128   /* of a transposed tile, along the flat index ... */
#define ACROSS_MEMORY 32 /* ... and along memory */
#define GATHER_TILE 8192 /* of elements listed one by one */
#define SHORTEST_RUN 32  /* shorter runs are listed one by one */
/* Consecutive flat indices that are made at once where memory has them one by one or in short runs: with 16 bytes of
 * every 48, 23 GB/s instead of 0.8 one by one. */
#define CHUNK 1024

typedef struct job job;
typedef void fill_tile(const job *, const fi_piece *, uint64_t tile);

struct job {
    uint64_t elements;
    const fi_isa *isa;
    const fi_plan *plan;
    const fi_piece *pieces; /* tensors that are filled by the plan */
    uint64_t count;         /* of them */
    int interleaved;        /* whether they take turns in memory */
    fill_tile *fill_tile;
    uint64_t tiles; /* of each tensor */
    int fresh;      /* whether a tile's pages are to be made before it is filled */
    int run_axis;   /* neighbours in flat index, or -1 */
    int64_t shift;  /* so that tiles of the run axis end at multiples of RUN_TILE or ACROSS_RUN */
    uint64_t tiles_along[FI_MAX_AXES];
    int order[FI_MAX_AXES]; /* gather: axes, the one with neighbours in flat index last */
    /* raw words */
    uint32_t *words;
    uint64_t key, low, high;
};

static inline uint64_t index_at(const fi_axis *axis, int64_t j) {
    return (uint64_t)axis->index_step * (uint64_t)(axis->table ? axis->table[j] : j);
}

/* ---- tiles ----------------------------------------------------------------------------------------- */

/* The part of an axis that a tile covers: begin, and how many. */
typedef struct {
    int64_t begin, count;
} span;

static span run_span(const fi_axis *axis, int64_t tile, int64_t length, int64_t shift) {
    int64_t begin = tile * length - shift, end = begin + length;
    begin = begin < 0 ? 0 : begin;
    end = end > axis->count ? axis->count : end;
    return (span){begin, end - begin};
}

/* Elements, or short runs of them, with a byte step between them to where there is another. One loop for each of the
 * usual sizes, which memcpy then knows. */
static void copy_elements(char *to, int64_t to_step, const char *from, int64_t from_step, size_t size, int64_t count) {
    if (size == 4)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 4);
    else if (size == 2)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 2);
    else if (size == 8)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 8);
    else if (size == 16)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 16);
    else
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, size);
}

static void fill_run(const job *j, const fi_values *values, uint64_t first, char *out, int64_t step, int64_t count) {
    const size_t size = fi_item_size(values->dtype);
    if (step == (int64_t)size) {
        if (j->fresh)
            fi_make_pages(out, (size_t)count * size);
        j->isa->fill(values, first, (size_t)count, out);
        return;
    }
    char buffer[CHUNK * 8];
    for (int64_t done = 0; done < count; done += CHUNK) {
        const int64_t n = count - done < CHUNK ? count - done : CHUNK;
        j->isa->fill(values, first + (uint64_t)done, (size_t)n, buffer);
        copy_elements(out + done * step, step, buffer, (int64_t)size, size, n);
    }
}

/* The flat index runs along an axis whose elements are far apart in memory, while those of the last
 * axis are close: fill runs, one below the other, and write them out column by column. */
static void fill_across(const job *j, const fi_values *values, uint64_t first, char *out, const fi_axis *run,
                        int64_t run_count, const fi_axis *inner, span rows) {
    const size_t size = fi_item_size(values->dtype);
    char buffer[ACROSS_RUN * ACROSS_MEMORY * 8];
    for (int64_t row = 0; row < rows.count; row++)
        j->isa->fill(values, first + index_at(inner, rows.begin + row), (size_t)run_count,
                     buffer + (size_t)row * ACROSS_RUN * size);
    out += rows.begin * inner->byte_step;
    for (int64_t column = 0; column < run_count; column++)
        copy_elements(out + column * run->byte_step, inner->byte_step, buffer + (size_t)column * size,
                      (int64_t)(ACROSS_RUN * size), size, rows.count);
}

static void do_run_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1, across = j->run_axis != last;
    uint64_t first = plan->first_index;
    char *out = piece->out;
    span run = {0, 0}, rows = {0, 0};
    for (int a = last; a >= 0; a--) {
        const fi_axis *axis = &plan->axes[a];
        const int64_t t = (int64_t)(tile % j->tiles_along[a]);
        tile /= j->tiles_along[a];
        if (a == j->run_axis) {
            run = run_span(axis, t, across ? ACROSS_RUN : RUN_TILE, j->shift);
            first += (uint64_t)run.begin;
            out += run.begin * axis->byte_step;
        } else if (a == last) {
            rows = run_span(axis, t, ACROSS_MEMORY, 0);
        } else {
            first += index_at(axis, t);
            out += t * axis->byte_step;
        }
    }
    if (across)
        fill_across(j, piece->values, first, out, &plan->axes[j->run_axis], run.count, &plan->axes[last], rows);
    else
        fill_run(j, piece->values, first, out, plan->axes[last].byte_step, run.count);
}

/* Short runs that follow each other in flat index, the last two axes: several are made at once, then put in place. */
static void do_chunk_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1;
    const fi_axis *inner = &plan->axes[last], *outer = &plan->axes[last - 1];
    const size_t size = fi_item_size(piece->values->dtype), bytes = (size_t)inner->count * size;
    uint64_t first = plan->first_index;
    char *out = piece->out;
    span runs = {0, 0};
    for (int a = last - 1; a >= 0; a--) {
        const int64_t t = (int64_t)(tile % j->tiles_along[a]);
        tile /= j->tiles_along[a];
        if (a == last - 1) {
            runs = run_span(outer, t, RUN_TILE / inner->count, 0);
            first += index_at(outer, runs.begin);
            out += runs.begin * outer->byte_step;
        } else {
            first += index_at(&plan->axes[a], t);
            out += t * plan->axes[a].byte_step;
        }
    }
    char buffer[CHUNK * 8];
    const int64_t at_once = CHUNK / inner->count;
    for (int64_t done = 0; done < runs.count; done += at_once) {
        const int64_t n = runs.count - done < at_once ? runs.count - done : at_once;
        j->isa->fill(piece->values, first + index_at(outer, done), (size_t)(n * inner->count), buffer);
        copy_elements(out + done * outer->byte_step, outer->byte_step, buffer, (int64_t)bytes, bytes, n);
    }
}

static void do_gather_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const size_t size = fi_item_size(piece->values->dtype);
    uint64_t index[FI_GATHER] = {0};
    char *to[FI_GATHER];
    char elements[FI_GATHER * 8];
    int64_t at[FI_MAX_AXES]; /* position along each axis, in the order of j->order */
    uint64_t position = tile * GATHER_TILE, left = j->elements - position;
    left = left < GATHER_TILE ? left : GATHER_TILE;
    for (int k = plan->naxes - 1; k >= 0; k--) {
        const uint64_t count = (uint64_t)plan->axes[j->order[k]].count;
        at[k] = (int64_t)(position % count);
        position /= count;
    }
    while (left) {
        const size_t n = left < FI_GATHER ? (size_t)left : FI_GATHER;
        for (size_t i = 0; i < n;) {
            uint64_t first = plan->first_index;
            char *out = piece->out;
            for (int k = 0; k < plan->naxes - 1; k++) {
                const fi_axis *axis = &plan->axes[j->order[k]];
                first += index_at(axis, at[k]);
                out += at[k] * axis->byte_step;
            }
            if (plan->naxes == 0) {
                index[i] = first;
                to[i++] = out;
                break;
            }
            int k = plan->naxes - 1;
            const fi_axis *axis = &plan->axes[j->order[k]];
            while (i < n && at[k] < axis->count) {
                index[i] = first + index_at(axis, at[k]);
                to[i++] = out + at[k]++ * axis->byte_step;
            }
            while (k > 0 && at[k] == plan->axes[j->order[k]].count) {
                at[k] = 0;
                at[--k]++;
            }
        }
        j->isa->gather(piece->values, index, n, elements);
        for (size_t i = 0; i < n; i++)
            copy_elements(to[i], 0, elements + i * size, 0, size, 1);
        left -= n;
    }
}

static void do_tile(const void *context, uint64_t tile, int thread) {
    const job *j = context;
    (void)thread;
    /* of tensors that take turns in memory, one tile of each, so that they share cache lines while these last */
    if (j->interleaved)
        j->fill_tile(j, &j->pieces[tile % j->count], tile / j->count);
    else
        j->fill_tile(j, &j->pieces[tile / j->tiles], tile % j->tiles);
}

static void do_words_tile(const void *context, uint64_t tile, int thread) {
    const job *j = context;
    (void)thread;
    uint64_t done = tile * RUN_TILE, left = j->elements - done;
    left = left < RUN_TILE ? left : RUN_TILE;
    while (left) {
        const uint64_t low = j->low + done / 4, high = j->high + (low < j->low);
        const uint64_t before_carry = UINT64_MAX - low; /* blocks, less one */
        const uint64_t n = left / 4 > before_carry ? 4 * (before_carry + 1) : left;
        j->isa->words(j->words + done, (size_t)n, j->key, low, high);
        done += n;
        left -= n;
    }
}

/* ---- plans to jobs ------------------------------------------------------------------------------------ */

static uint64_t ceil_div(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

int fi_run(const fi_isa *isa, const fi_values *values, const fi_plan *plan, int threads, fi_poll poll, void *context) {
    const fi_piece piece = {values, plan->out};
    return fi_run_each(isa, &piece, 1, plan, threads, poll, context);
}

int fi_run_each(const fi_isa *isa, const fi_piece *pieces, size_t n, const fi_plan *plan, int threads, fi_poll poll,
                void *context) {
    if (!n)
        return 0;
    job j = {.isa = isa, .plan = plan, .pieces = pieces, .count = n, .elements = 1, .run_axis = -1};
    const int last = plan->naxes - 1;
    int nearest = last; /* the axis with the smallest step of flat index */
    for (int a = 0; a <= last; a++) {
        const fi_axis *axis = &plan->axes[a];
        j.elements *= (uint64_t)axis->count;
        if (axis->index_step == 1 && !axis->table)
            j.run_axis = a;
        if (!axis->table && (plan->axes[nearest].table || axis->index_step < plan->axes[nearest].index_step))
            nearest = a;
    }
    const int across = j.run_axis != last;
    const size_t size = fi_item_size(pieces->values->dtype);
    const fi_axis *inner = last > 0 ? &plan->axes[last] : 0, *outer = last > 0 ? inner - 1 : 0;
    const int chunks = last > 0 && !across && inner->count <= CHUNK / 2 && inner->byte_step == (int64_t)size &&
                       outer->index_step == inner->count && !outer->table;
    const int short_runs = j.run_axis < 0 || (last > 0 && plan->axes[j.run_axis].count < SHORTEST_RUN);
    if (chunks) {
        j.fill_tile = do_chunk_tile;
        j.tiles = 1;
        for (int a = 0; a < last; a++) {
            const uint64_t count = (uint64_t)plan->axes[a].count;
            j.tiles_along[a] = a == last - 1 ? ceil_div(count, (uint64_t)(RUN_TILE / inner->count)) : count;
            j.tiles *= j.tiles_along[a];
        }
    } else if (short_runs || (across && plan->axes[last].table)) {
        j.fill_tile = do_gather_tile;
        j.tiles = ceil_div(j.elements, GATHER_TILE);
        for (int a = 0, k = 0; a <= last; a++)
            if (a != nearest)
                j.order[k++] = a;
        if (last >= 0)
            j.order[last] = nearest;
    } else {
        const int64_t length = across ? ACROSS_RUN : RUN_TILE;
        j.fill_tile = do_run_tile;
        j.shift = (int64_t)(plan->first_index % (uint64_t)length);
        j.tiles = 1;
        for (int a = 0; a <= last; a++) {
            const uint64_t count = (uint64_t)plan->axes[a].count;
            j.tiles_along[a] = a == j.run_axis ? ceil_div(count + (uint64_t)j.shift, (uint64_t)length)
                               : a == last     ? ceil_div(count, ACROSS_MEMORY)
                                               : count;
            j.tiles *= j.tiles_along[a];
        }
    }
    if (last >= 0 && j.run_axis == last && plan->axes[last].byte_step == (int64_t)size)
        j.fresh = fi_is_fresh(pieces->out, (size_t)plan->axes[last].count * size);
    if (n > 1 && last >= 0)
        j.interleaved = llabs(pieces[1].out - pieces[0].out) < llabs(plan->axes[0].byte_step);
    return j.elements ? fi_parallel(do_tile, &j, n * j.tiles, n * j.elements, threads, poll, context) : 0;
}

int fi_run_words(const fi_isa *isa, uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high, int threads,
                 fi_poll poll, void *context) {
    const job j = {.elements = count, .isa = isa, .words = out, .key = key, .low = low, .high = high};
    return fi_parallel(do_words_tile, &j, ceil_div(count, RUN_TILE), count, threads, poll, context);
}

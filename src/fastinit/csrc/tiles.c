/* tiles.c - cuts plans into tiles.
 *
 * Tiles are numbered in the order of memory, so that consecutive ones share pages. */
#define _DEFAULT_SOURCE /* madvise, mincore */
#include <stdlib.h>
#include <string.h>

#include "pages.h"
#include "placing.h"
#include "steps.h"

/* Elements of a tile. Measured: docs/performance.md, "Tiles and threads". */
#define RUN_TILE 16384        /* of a run of flat indices that are neighbours in memory, or along one axis */
#define ACROSS_ROWS 64        /* of a transposed tile, along memory ... */
#define ACROSS_COLUMNS 256    /* ... and along the flat index, where that many are there */
#define GATHER_TILE 8192      /* of elements listed one by one */
#define SHORT_RUN 768         /* at most: several are made at once */
#define FEW 128               /* elements of a transposed tile: they are listed one by one */
#define STREAM_FROM (4 << 20) /* bytes of an output whose lines go past the caches, where whole ones are written */

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
    uint64_t tiles;          /* of each tensor */
    int fresh;               /* whether a tile's pages are to be made before it is filled */
    int run_axis;            /* neighbours in flat index, or -1 */
    int64_t along;           /* elements of a tile along the run axis */
    int64_t shift;           /* so that tiles of the run axis end at multiples of that */
    int64_t rows, row_shift; /* the same of the last axis, if that is another one */
    int64_t wide;            /* of `along`, elements that are made at once */
    int in_one_run;          /* whether listed runs follow each other in memory, each of whole blocks */
    int stream;              /* whether lines go past the caches */
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

static void fill_run(const job *j, const fi_values *values, uint64_t first, char *out, int64_t step, int64_t count) {
    const size_t size = fi_item_size(values->dtype);
    if (step != (int64_t)size) {
        j->isa->fill_apart(values, first, (size_t)count, out, 1, step);
        return;
    }
    if (j->fresh)
        fi_make_pages(out, (size_t)count * size);
    j->isa->fill(values, first, (size_t)count, out);
}

/* Where a tile begins, in flat index and in memory: its first element's index is returned. `run` and `rows` are what it
 * covers of the run axis and of `last`. */
static uint64_t tile_at(const job *j, uint64_t tile, char **out, span *run, span *rows) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1;
    uint64_t first = plan->first_index;
    for (int a = last; a >= 0; a--) {
        const fi_axis *axis = &plan->axes[a];
        int64_t at = (int64_t)(tile % j->tiles_along[a]);
        tile /= j->tiles_along[a];
        if (a == j->run_axis) {
            *run = run_span(axis, at, j->along, j->shift);
            at = run->begin;
        } else if (a == last) {
            *rows = run_span(axis, at, j->rows, j->row_shift);
            at = rows->begin;
            *out += at * axis->byte_step;
            continue;
        }
        first += index_at(axis, at);
        *out += at * axis->byte_step;
    }
    return first;
}

static void do_run_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    char *out = piece->out;
    span run = {0, 0}, rows;
    const uint64_t first = tile_at(j, tile, &out, &run, &rows);
    fill_run(j, piece->values, first, out, j->plan->axes[j->plan->naxes - 1].byte_step, run.count);
}

/* The blocks that a run of elements lies in. */
static inline fi_blocks blocks_of(uint64_t first, uint64_t length, int shift) {
    const uint64_t begin = first >> shift;
    return (fi_blocks){begin, ((first + length - 1) >> shift) + 1 - begin};
}

/* The flat index runs along an axis whose elements are far apart in memory, while those of the last axis are close: a
 * few columns of many rows are listed and made at once, and written out column by column. */
static void do_across_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_axis *run = &j->plan->axes[j->run_axis], *inner = &j->plan->axes[j->plan->naxes - 1];
    const int shift = fi_block_shift(piece->values->dtype);
    const size_t size = fi_item_size(piece->values->dtype);
    char *out = piece->out;
    span columns = {0, 0}, rows = {0, 0};
    const uint64_t first = tile_at(j, tile, &out, &columns, &rows);
    fi_blocks blocks[ACROSS_ROWS];
    const char *from[ACROSS_ROWS]; /* the elements of a row */
    _Alignas(64) char elements[FI_LIST * 16];
    const int is_fetched = !j->stream && rows.count * llabs(inner->byte_step) >= 64;
    int64_t wide = fi_least(j->wide, columns.count);
    for (int64_t done = 0; done < columns.count; done += wide) {
        const int is_last = columns.count - done < wide;
        wide = is_last ? columns.count - done : wide;
        const char *next = elements;
        for (int64_t row = 0; row < rows.count && (done == 0 || is_last); row++) {
            const uint64_t begin = first + (uint64_t)done + index_at(inner, rows.begin + row);
            blocks[row] = blocks_of(begin, (uint64_t)wide, shift);
            from[row] = next + (begin - (blocks[row].first << shift)) * size;
            next += (blocks[row].count << shift) * size;
        }
        char *to = out + done * run->byte_step;
        for (int64_t column = 0; column < wide && is_fetched; column++)
            fetch_lines(to + column * run->byte_step, rows.count, inner->byte_step);
        j->isa->list(piece->values, blocks, (size_t)rows.count, elements, 0);
        for (int64_t row = 0; row < rows.count; row++) /* `wide` is a number of whole blocks, but for the last ones */
            blocks[row].first += (uint64_t)wide >> shift;
        if (inner->byte_step == (int64_t)size)
            j->isa->transpose(to, run->byte_step, from, rows.count, wide, size, j->stream);
        else
            for (int64_t row = 0; row < rows.count; row++)
                copy_elements(to + row * inner->byte_step, run->byte_step, from[row], (int64_t)size, size, wide);
    }
    if (j->stream)
        j->isa->end_streams();
}

/* Short runs that follow each other in flat index, the last two axes: several are made at once, then put in place. */
static void do_chunk_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1;
    const fi_axis *inner = &plan->axes[last], *outer = &plan->axes[last - 1];
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
    j->isa->fill_apart(piece->values, first, (size_t)(runs.count * inner->count), out, inner->count, outer->byte_step);
}

/* Positions along some axes, the last of them running fastest. */
static void positions_of(int64_t at[FI_MAX_AXES], const job *j, int naxes, uint64_t number) {
    for (int k = naxes - 1; k >= 0; k--) {
        const uint64_t count = (uint64_t)j->plan->axes[j->order[k]].count;
        at[k] = (int64_t)(number % count);
        number /= count;
    }
}

static void carry(int64_t at[FI_MAX_AXES], const job *j, int k) {
    while (k > 0 && at[k] == j->plan->axes[j->order[k]].count) {
        at[k] = 0;
        at[--k]++;
    }
}

/* Flat index and address of the first element along the axes behind the first `naxes`. */
static uint64_t start_of(const int64_t at[FI_MAX_AXES], const job *j, int naxes, char **out) {
    uint64_t first = j->plan->first_index;
    for (int k = 0; k < naxes; k++) {
        const fi_axis *axis = &j->plan->axes[j->order[k]];
        first += index_at(axis, at[k]);
        *out += at[k] * axis->byte_step;
    }
    return first;
}

/* Short runs anywhere: the blocks of several are listed, made at once, and the runs put in place. */
static void do_listed_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const int last = j->plan->naxes - 1, shift = fi_block_shift(piece->values->dtype);
    const fi_axis *inner = &j->plan->axes[last];
    const int64_t size = (int64_t)fi_item_size(piece->values->dtype);
    const uint64_t length = (uint64_t)inner->count, at_once = RUN_TILE / length;
    const uint64_t most = ((length - 1 + fi_per_block(piece->values->dtype) - 1) >> shift) + 1; /* blocks of a run */
    uint64_t left = j->elements / length - tile * at_once;
    left = left < at_once ? left : at_once;
    fi_blocks blocks[FI_LIST];
    _Alignas(64) char elements[FI_LIST * 16];
    char *to[FI_LIST];
    const char *from[FI_LIST];
    int64_t at[FI_MAX_AXES];
    positions_of(at, j, last, tile * at_once);
    while (left) {
        uint64_t used = 0, runs = left < FI_LIST / most ? left : FI_LIST / most;
        runs -= runs > FI_ROOM ? runs % FI_ROOM : 0; /* then any number of blocks in each fills FI_ROOM */
        for (uint64_t i = 0; i < runs; i++) {
            to[i] = piece->out;
            const uint64_t first = start_of(at, j, last, &to[i]);
            blocks[i] = blocks_of(first, length, shift);
            from[i] = elements + ((used << shift) + (first - (blocks[i].first << shift))) * (size_t)size;
            used += blocks[i].count;
            if (!j->in_one_run)
                fetch_lines(to[i], inner->count, inner->byte_step);
            at[last - 1]++;
            carry(at, j, last - 1);
        }
        if (j->in_one_run && used % FI_ROOM == 0) {
            j->isa->list(piece->values, blocks, runs, to[0], 1);
        } else {
            j->isa->list(piece->values, blocks, runs, elements, 0);
            if (inner->byte_step == size)
                for (uint64_t i = 0; i < runs; i++)
                    memcpy(to[i], from[i], length * (uint64_t)size);
            else
                for (uint64_t i = 0; i < runs; i++)
                    spread_elements(to[i], inner->byte_step, from[i], (size_t)size, inner->count);
        }
        left -= runs;
    }
}

/* Elements that are listed one by one: those of a block, if they follow each other, are made once. */
static void fill_listed(const job *j, const fi_values *values, const uint64_t *index, char *const *to, size_t count) {
    const size_t size = fi_item_size(values->dtype);
    const int shift = fi_block_shift(values->dtype);
    fi_blocks blocks[FI_LIST];
    size_t from[FI_LIST], used = 0;
    _Alignas(64) char elements[FI_LIST * 16];
    for (size_t i = 0; i < count; i++) {
        const uint64_t block = index[i] >> shift;
        if (used == 0 || blocks[used - 1].first != block)
            blocks[used++] = (fi_blocks){block, 1};
        from[i] = (((used - 1) << shift) + (index[i] - (block << shift))) * size;
    }
    j->isa->list(values, blocks, used, elements, 0);
    for (size_t i = 0; i < count; i++)
        copy_elements(to[i], 0, elements + from[i], 0, size, 1);
}

static void do_gather_tile(const job *j, const fi_piece *piece, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1;
    uint64_t index[FI_LIST] = {0};
    char *to[FI_LIST];
    int64_t at[FI_MAX_AXES];
    uint64_t left = j->elements - tile * GATHER_TILE;
    left = left < GATHER_TILE ? left : GATHER_TILE;
    positions_of(at, j, plan->naxes, tile * GATHER_TILE);
    while (left) {
        const size_t n = left < FI_LIST ? (size_t)left : FI_LIST;
        for (size_t i = 0; i < n;) {
            char *out = piece->out;
            const uint64_t first = start_of(at, j, last, &out);
            if (last < 0) { /* one element */
                index[i] = first;
                to[i++] = out;
                break;
            }
            const fi_axis *axis = &plan->axes[j->order[last]];
            while (i < n && at[last] < axis->count) {
                index[i] = first + index_at(axis, at[last]);
                to[i++] = out + at[last]++ * axis->byte_step;
            }
            carry(at, j, last);
        }
        fill_listed(j, piece->values, index, to, n);
        left -= n;
    }
}

static void do_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const job *j = context;
    (void)worker;
    /* of tensors that take turns in memory, one tile of each, so that they share cache lines while these last */
    if (j->interleaved)
        j->fill_tile(j, &j->pieces[tile % j->count], tile / j->count);
    else
        j->fill_tile(j, &j->pieces[tile / j->tiles], tile % j->tiles);
}

static void do_words_tile(const void *context, uint64_t tile, fi_worker *worker) {
    const job *j = context;
    (void)worker;
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

static void cut_across(job *j, int64_t per_block, int64_t size) {
    const fi_axis *run = &j->plan->axes[j->run_axis], *inner = &j->plan->axes[j->plan->naxes - 1];
    j->fill_tile = do_across_tile;
    j->rows = fi_least(inner->count, ACROSS_ROWS);
    j->wide = 16;
    while (j->rows * (2 * j->wide / per_block + 1) <= FI_LIST) /* a run may begin within a block */
        j->wide *= 2;
    j->along = j->wide < ACROSS_COLUMNS ? ACROSS_COLUMNS : j->wide;
    j->stream =
        j->count * j->elements * (uint64_t)size >= STREAM_FROM && inner->byte_step == size && run->byte_step % 64 == 0;
    if (inner->count > 4 * ACROSS_ROWS) /* tiles begin with lines of memory */
        j->row_shift = (int64_t)((uintptr_t)j->pieces->out % 64) / size;
}

/* `n` tensors, filled by one plan. */
static job job_of(const fi_isa *isa, const fi_piece *pieces, size_t n, const fi_plan *plan) {
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
    const int across = j.run_axis >= 0 && j.run_axis != last;
    const int64_t size = (int64_t)fi_item_size(pieces->values->dtype);
    const int64_t per_block = (int64_t)fi_per_block(pieces->values->dtype);
    const fi_axis *inner = last > 0 ? &plan->axes[last] : 0, *outer = last > 0 ? inner - 1 : 0;
    const int short_runs = last > 0 && j.run_axis == last && inner->count <= SHORT_RUN;
    if (short_runs && inner->byte_step == size && outer->index_step == inner->count && !outer->table) {
        j.fill_tile = do_chunk_tile;
        j.tiles = 1;
        for (int a = 0; a < last; a++) {
            const uint64_t count = (uint64_t)plan->axes[a].count;
            j.tiles_along[a] = a == last - 1 ? ceil_div(count, (uint64_t)(RUN_TILE / inner->count)) : count;
            j.tiles *= j.tiles_along[a];
        }
    } else if (short_runs) {
        j.fill_tile = do_listed_tile;
        j.tiles = ceil_div(j.elements / (uint64_t)inner->count, (uint64_t)(RUN_TILE / inner->count));
        j.in_one_run = last == 1 && inner->byte_step == size && outer->byte_step == inner->count * size &&
                       plan->first_index % (uint64_t)per_block == 0 && inner->count % per_block == 0 &&
                       outer->index_step % per_block == 0;
        for (int a = 0; a <= last; a++)
            j.order[a] = a;
    } else if (j.run_axis < 0 || (across && fi_least(inner->count, ACROSS_ROWS) * plan->axes[j.run_axis].count < FEW)) {
        j.fill_tile = do_gather_tile;
        j.tiles = ceil_div(j.elements, GATHER_TILE);
        for (int a = 0, k = 0; a <= last; a++)
            if (a != nearest)
                j.order[k++] = a;
        if (last >= 0)
            j.order[last] = nearest;
    } else {
        j.fill_tile = do_run_tile;
        j.along = RUN_TILE;
        if (across)
            cut_across(&j, per_block, size);
        j.shift = (int64_t)(plan->first_index % (uint64_t)j.along);
        j.tiles = 1;
        for (int a = 0; a <= last; a++) {
            const uint64_t count = (uint64_t)plan->axes[a].count;
            j.tiles_along[a] = a == j.run_axis ? ceil_div(count + (uint64_t)j.shift, (uint64_t)j.along)
                               : a == last     ? ceil_div(count + (uint64_t)j.row_shift, (uint64_t)j.rows)
                                               : count;
            j.tiles *= j.tiles_along[a];
        }
    }
    if (last >= 0 && j.run_axis == last && plan->axes[last].byte_step == size)
        j.fresh = fi_is_fresh(pieces->out, (size_t)(plan->axes[last].count * size));
    if (n > 1 && last >= 0)
        j.interleaved = llabs(pieces[1].out - pieces[0].out) < llabs(plan->axes[0].byte_step);
    return j;
}

static fi_task task_of(const job *j) {
    return (fi_task){do_tile, j, j->elements ? j->count * j->tiles : 0, j->count * j->elements};
}

int fi_run(const fi_isa *isa, const fi_values *values, const fi_plan *plan, int threads, fi_poll poll, void *context) {
    const fi_piece piece = {values, plan->out};
    return fi_run_each(isa, &piece, 1, plan, threads, poll, context);
}

int fi_run_each(const fi_isa *isa, const fi_piece *pieces, size_t n, const fi_plan *plan, int threads, fi_poll poll,
                void *context) {
    if (!n)
        return 0;
    const job j = job_of(isa, pieces, n, plan);
    const fi_task task = task_of(&j);
    return fi_parallel(&task, threads, poll, context);
}

size_t fi_fill_room(void) { return sizeof(job); }

fi_task fi_fill_task(void *room, const fi_isa *isa, fi_filling *filling) {
    job *j = room;
    filling->piece = (fi_piece){filling->values, filling->plan->out};
    *j = job_of(isa, &filling->piece, 1, filling->plan);
    return task_of(j);
}

int fi_run_words(const fi_isa *isa, uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high, int threads,
                 fi_poll poll, void *context) {
    const job j = {.elements = count, .isa = isa, .words = out, .key = key, .low = low, .high = high};
    const fi_task task = {do_words_tile, &j, ceil_div(count, RUN_TILE), count};
    return fi_parallel(&task, threads, poll, context);
}

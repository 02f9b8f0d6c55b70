/* parallel.c - runs a plan over threads: the one file that knows OpenMP.
 *
 * A plan is cut into tiles, numbered in the order of memory. Each thread owns a slab of consecutive
 * tiles, so that the pages it touches first are next to each other; one that is done helps the
 * others. The calling thread polls between batches of tiles. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "fastinit.h"
#include "fpenv.h"

/* Elements of a tile. Measured: benchmarks/README.md, "Tiles and threads". */
#define RUN_TILE 16384     /* of a run of flat indices that are neighbours in memory, or along one axis */
#define ACROSS_RUN 128     /* of a transposed tile, along the flat index ... */
#define ACROSS_MEMORY 32   /* ... and along memory */
#define GATHER_TILE 8192   /* of elements listed one by one */
#define SHORTEST_RUN 32    /* shorter runs are listed one by one */
#define BATCH 32768        /* elements between two looks at the clock */
#define SERIAL_BELOW 65536 /* elements that one thread fills before a second has woken up */
#define POLL_NANOSECONDS 20000000
#define MAX_THREADS 1024

typedef struct job job;
struct job {
    void (*do_tile)(const job *, uint64_t tile);
    uint64_t tiles;
    uint64_t elements;
    const fi_isa *isa;
    const fi_values *values;
    const fi_plan *plan;
    int run_axis;  /* neighbours in flat index, or -1 */
    int64_t shift; /* so that tiles of the run axis end at multiples of RUN_TILE or ACROSS_RUN */
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

/* Elements with a byte step between them to where there is another. One loop for each size, which memcpy then knows. */
static void copy_elements(char *to, int64_t to_step, const char *from, int64_t from_step, size_t size, int64_t count) {
    if (size == 4)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 4);
    else if (size == 2)
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 2);
    else
        for (int64_t i = 0; i < count; i++)
            memcpy(to + i * to_step, from + i * from_step, 8);
}

static void fill_run(const job *j, uint64_t first, char *out, int64_t step, int64_t count) {
    const size_t size = fi_item_size(j->values->dtype);
    if (step == (int64_t)size) {
        j->isa->fill(j->values, first, (size_t)count, out);
        return;
    }
    char buffer[1024 * 8];
    for (int64_t done = 0; done < count; done += 1024) {
        const int64_t n = count - done < 1024 ? count - done : 1024;
        j->isa->fill(j->values, first + (uint64_t)done, (size_t)n, buffer);
        copy_elements(out + done * step, step, buffer, (int64_t)size, size, n);
    }
}

/* The flat index runs along an axis whose elements are far apart in memory, while those of the last
 * axis are close: fill runs, one below the other, and write them out column by column. */
static void fill_across(const job *j, uint64_t first, char *out, const fi_axis *run, int64_t run_count,
                        const fi_axis *inner, span rows) {
    const size_t size = fi_item_size(j->values->dtype);
    char buffer[ACROSS_RUN * ACROSS_MEMORY * 8];
    for (int64_t row = 0; row < rows.count; row++)
        j->isa->fill(j->values, first + index_at(inner, rows.begin + row), (size_t)run_count,
                     buffer + (size_t)row * ACROSS_RUN * size);
    out += rows.begin * inner->byte_step;
    for (int64_t column = 0; column < run_count; column++)
        copy_elements(out + column * run->byte_step, inner->byte_step, buffer + (size_t)column * size,
                      (int64_t)(ACROSS_RUN * size), size, rows.count);
}

static void do_run_tile(const job *j, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const int last = plan->naxes - 1, across = j->run_axis != last;
    uint64_t first = plan->first_index;
    char *out = plan->out;
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
        fill_across(j, first, out, &plan->axes[j->run_axis], run.count, &plan->axes[last], rows);
    else
        fill_run(j, first, out, plan->axes[last].byte_step, run.count);
}

static void do_gather_tile(const job *j, uint64_t tile) {
    const fi_plan *plan = j->plan;
    const size_t size = fi_item_size(j->values->dtype);
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
            char *out = plan->out;
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
        j->isa->gather(j->values, index, n, elements);
        for (size_t i = 0; i < n; i++)
            copy_elements(to[i], 0, elements + i * size, 0, size, 1);
        left -= n;
    }
}

static void do_words_tile(const job *j, uint64_t tile) {
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

/* ---- threads ---------------------------------------------------------------------------------------- */

typedef struct {
    _Alignas(64) atomic_uint_fast64_t next;
    uint64_t end;
} slab;

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

typedef struct {
    const job *job;
    slab *slabs;
    int slab_count;
    uint64_t batch;
    atomic_int stop;
    fi_poll poll;
    void *context;
} work;

static void work_as(work *w, int thread, int is_caller) {
    const fi_fpenv saved = fi_fpenv_default();
    int64_t polled = is_caller && w->poll ? nanoseconds() : 0;
    for (int s = 0; s < w->slab_count; s++) {
        slab *mine = &w->slabs[(thread + s) % w->slab_count];
        for (;;) {
            if (atomic_load_explicit(&w->stop, memory_order_relaxed))
                goto out;
            uint64_t tile = atomic_fetch_add_explicit(&mine->next, w->batch, memory_order_relaxed);
            if (tile >= mine->end)
                break;
            const uint64_t end = mine->end - tile < w->batch ? mine->end : tile + w->batch;
            for (; tile < end; tile++)
                w->job->do_tile(w->job, tile);
            if (is_caller && w->poll && nanoseconds() - polled > POLL_NANOSECONDS) {
                fi_fpenv_restore(saved); /* the callback is the caller's code */
                const int stop = w->poll(w->context);
                (void)fi_fpenv_default();
                if (stop)
                    atomic_store_explicit(&w->stop, stop, memory_order_relaxed);
                polled = nanoseconds();
            }
        }
    }
out:
    fi_fpenv_restore(saved);
}

static pid_t home_process;

void fi_parallel_init(void) { home_process = getpid(); }

#ifdef _OPENMP
/* libgomp ends the process when it cannot make a thread. So make as many first, by hand, and
 * let the team be as large as that went. Again only when a calling thread wants a larger team. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open;
} gate;

static void *wait_at_gate(void *argument) {
    gate *g = argument;
    pthread_mutex_lock(&g->lock);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static int threads_that_can_be_made(int wanted) {
    static _Thread_local int last_team = 1;
    if (wanted > last_team) {
        pthread_t *made = malloc((size_t)wanted * sizeof *made);
        int count = 0;
        if (!made)
            return last_team;
        gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
        while (count < wanted - 1 && pthread_create(&made[count], NULL, wait_at_gate, &g) == 0)
            count++;
        pthread_mutex_lock(&g.lock);
        g.open = 1;
        pthread_cond_broadcast(&g.changed);
        pthread_mutex_unlock(&g.lock);
        for (int i = 0; i < count; i++)
            pthread_join(made[i], NULL);
        free(made);
        wanted = count + 1;
    }
    last_team = wanted;
    return wanted;
}
#endif

int fi_openmp_version(void) {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

static int run(const job *j, int threads, fi_poll poll, void *context) {
    if (j->tiles == 0)
        return 0;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    if ((uint64_t)threads > j->tiles)
        threads = (int)j->tiles;
    /* a forked child has libgomp's memory of threads that it does not have: it would wait for them */
    if (j->elements < SERIAL_BELOW || getpid() != home_process)
        threads = 1;
#ifdef _OPENMP
    if (threads > 1)
        threads = threads_that_can_be_made(threads);
#else
    threads = 1;
#endif
    const uint64_t per_tile = j->elements / j->tiles;
    /* not MAX_THREADS of them on the stack: a thread's can be small */
    slab one, *slabs = threads > 1 ? aligned_alloc(64, (size_t)threads * sizeof *slabs) : &one;
    if (!slabs) {
        slabs = &one;
        threads = 1;
    }
    work w = {.job = j,
              .slabs = slabs,
              .slab_count = threads,
              .poll = poll,
              .context = context,
              .batch = per_tile >= BATCH ? 1 : BATCH / (per_tile + 1)};
    atomic_init(&w.stop, 0);
    for (int s = 0; s < threads; s++) {
        atomic_init(&slabs[s].next, (uint64_t)((unsigned __int128)j->tiles * (unsigned)s / (unsigned)threads));
        slabs[s].end = (uint64_t)((unsigned __int128)j->tiles * (unsigned)(s + 1) / (unsigned)threads);
    }
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        work_as(&w, omp_get_thread_num(), omp_get_thread_num() == 0);
    } else
#endif
        work_as(&w, 0, 1);
    if (slabs != &one)
        free(slabs);
    return atomic_load(&w.stop);
}

/* ---- plans to jobs ------------------------------------------------------------------------------------ */

static uint64_t ceil_div(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

int fi_run(const fi_isa *isa, const fi_values *values, const fi_plan *plan, int threads, fi_poll poll, void *context) {
    job j = {.isa = isa, .values = values, .plan = plan, .elements = 1, .run_axis = -1};
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
    const int short_runs = j.run_axis < 0 || (last > 0 && plan->axes[j.run_axis].count < SHORTEST_RUN);
    if (short_runs || (across && plan->axes[last].table)) {
        j.do_tile = do_gather_tile;
        j.tiles = ceil_div(j.elements, GATHER_TILE);
        for (int a = 0, k = 0; a <= last; a++)
            if (a != nearest)
                j.order[k++] = a;
        if (last >= 0)
            j.order[last] = nearest;
    } else {
        const int64_t length = across ? ACROSS_RUN : RUN_TILE;
        j.do_tile = do_run_tile;
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
    return j.elements ? run(&j, threads, poll, context) : 0;
}

int fi_run_words(const fi_isa *isa, uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high, int threads,
                 fi_poll poll, void *context) {
    const job j = {.do_tile = do_words_tile,
                   .tiles = ceil_div(count, RUN_TILE),
                   .elements = count,
                   .isa = isa,
                   .words = out,
                   .key = key,
                   .low = low,
                   .high = high};
    return run(&j, threads, poll, context);
}

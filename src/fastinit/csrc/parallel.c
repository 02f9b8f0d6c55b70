/* parallel.c - does tiles on several threads: the one file that knows OpenMP.
 *
 * Each thread owns a slab of consecutive tiles, so that the pages it touches first are next to each other; one that
 * is done helps the others. The calling thread polls between batches of tiles. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

#include "fpenv.h"
#include "parallel.h"

#define BATCH 32768 /* cost between two looks at the clock */
#define POLL_NANOSECONDS 20000000
#define MAX_THREADS 1024

typedef struct {
    _Alignas(64) atomic_size_t next; /* memory has room for every tile; 64 bits would need libatomic on some CPUs */
    uint64_t end;
} slab;

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

typedef struct {
    fi_tile do_tile;
    const void *job;
    slab *slabs;
    int slab_count;
    uint64_t batch;
    atomic_int stop;
    fi_poll poll;
    void *context;
    jmp_buf *way_out; /* of a team, for the calling thread; NULL where it works alone */
} work;

static pid_t home_process;

static void work_as(work *w, int thread, int is_caller) {
    const fi_fpenv saved = fi_fpenv_default();
    static _Thread_local int64_t polled; /* through all jobs: a product is many short ones */
    for (int s = 0; s < w->slab_count; s++) {
        slab *mine = &w->slabs[(thread + s) % w->slab_count];
        for (;;) {
            if (atomic_load_explicit(&w->stop, memory_order_relaxed))
                goto out;
            uint64_t tile = atomic_fetch_add_explicit(&mine->next, (size_t)w->batch, memory_order_relaxed);
            if (tile >= mine->end)
                break;
            const uint64_t end = mine->end - tile < w->batch ? mine->end : tile + w->batch;
            for (; tile < end; tile++)
                w->do_tile(w->job, tile, thread);
            if (is_caller && w->poll && nanoseconds() - polled > POLL_NANOSECONDS) {
                fi_fpenv_restore(saved); /* the callback is the caller's code */
                const int stop = w->poll(w->context);
                if (w->way_out && getpid() != home_process) { /* a child without the team: it would wait for it */
                    atomic_store_explicit(&w->stop, stop ? stop : FI_FORKED, memory_order_relaxed);
                    longjmp(*w->way_out, 1);
                }
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

#ifdef _OPENMP
/* libgomp keeps the threads of a calling thread's last team, ends those that the next one does not need, and ends the
 * process when it cannot make one. So a team is as large as its tiles ask for, but no smaller than the last one, within
 * the number of threads that the caller asked for; and before it grows, as many threads are made by hand as it will
 * grow by. Where that fails, it grows as far as that went. */
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
    pthread_t *made = malloc((size_t)wanted * sizeof *made);
    int count = 0;
    if (!made)
        return 0;
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    while (count < wanted && pthread_create(&made[count], NULL, wait_at_gate, &g) == 0)
        count++;
    pthread_mutex_lock(&g.lock);
    g.open = 1;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.lock);
    for (int i = 0; i < count; i++)
        pthread_join(made[i], NULL);
    free(made);
    return count;
}

static int team_size(int threads, uint64_t tiles) {
    static _Thread_local int last = 1;
    const int useful = (uint64_t)threads < tiles ? threads : (int)tiles;
    if (useful > last)
        last += threads_that_can_be_made(useful - last);
    else if (threads < last)
        last = threads;
    return last;
}

static void work_in_team(work *w, int threads) {
    jmp_buf way_out;
    w->way_out = &way_out;
    if (setjmp(way_out) == 0) {
#pragma omp parallel num_threads(threads)
        work_as(w, omp_get_thread_num(), omp_get_thread_num() == 0);
    }
}
#endif

int fi_openmp_version(void) {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

#ifdef _OPENMP
/* CPUs that this process may use. What the runtime has bound this thread to says nothing of the others. Where it binds
 * none, this thread's affinity is what counts, and not every runtime looks at it again. */
static int processors(void) {
#ifdef __linux__
    cpu_set_t set;
    if (omp_get_proc_bind() == omp_proc_bind_false && sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    return omp_get_num_procs();
}
static int no_limit; /* what omp_get_max_threads() returns where nobody has set it: the CPUs there were at first */
#endif

int fi_openmp_threads(void) {
#ifdef _OPENMP
    const int cpus = processors(), limit = omp_get_max_threads(), most = omp_get_thread_limit();
    const int count = limit < cpus && limit != no_limit ? limit : cpus;
    return count < most ? count : most;
#else
    return 0;
#endif
}

void fi_parallel_init(void) {
    home_process = getpid();
#ifdef _OPENMP
    if (omp_get_max_threads() == processors())
        no_limit = omp_get_max_threads();
#endif
}

/* The first tile of slab s: tiles * s / threads, rounded down, without overflow. */
static uint64_t share(uint64_t tiles, int s, int threads) {
    const uint64_t n = (uint64_t)threads, i = (uint64_t)s;
    return tiles / n * i + tiles % n * i / n;
}

int fi_parallel(fi_tile do_tile, const void *job, uint64_t tiles, uint64_t cost, int threads, fi_poll poll,
                void *context) {
    if (tiles == 0)
        return 0;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    /* a forked child has libgomp's memory of threads that it does not have: it would wait for them */
    if (tiles == 1 || cost < FI_SERIAL_BELOW || getpid() != home_process)
        threads = 1;
#ifdef _OPENMP
    /* a team within a team, as of a fill in a signal handler, would be of one */
    if (threads > 1 && omp_get_active_level() >= omp_get_max_active_levels())
        threads = 1;
    if (threads > 1)
        threads = team_size(threads, tiles);
#else
    threads = 1;
#endif
    const uint64_t per_tile = cost / tiles;
    /* not MAX_THREADS of them on the stack: a thread's can be small */
    slab one, *slabs = threads > 1 ? aligned_alloc(64, (size_t)threads * sizeof *slabs) : &one;
    if (!slabs) {
        slabs = &one;
        threads = 1;
    }
    work w = {.do_tile = do_tile,
              .job = job,
              .slabs = slabs,
              .slab_count = threads,
              .poll = poll,
              .context = context,
              .batch = per_tile >= BATCH ? 1 : BATCH / (per_tile + 1)};
    atomic_init(&w.stop, 0);
    for (int s = 0; s < threads; s++) {
        atomic_init(&slabs[s].next, (size_t)share(tiles, s, threads));
        slabs[s].end = share(tiles, s + 1, threads);
    }
#ifdef _OPENMP
    if (threads > 1)
        work_in_team(&w, threads);
    else
#endif
        work_as(&w, 0, 1);
    if (slabs != &one)
        free(slabs);
    return atomic_load(&w.stop);
}

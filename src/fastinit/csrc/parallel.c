/* parallel.c - does tiles on several threads: the one file that knows OpenMP.
 *
 * Each thread owns a slab of consecutive tiles, so that the pages it touches first are next to each other; one that
 * is done helps the others. The calling thread polls between batches of tiles. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "fpenv.h"
#include "parallel.h"

#define BATCH 32768        /* cost between two looks at the clock */
#define SERIAL_BELOW 65536 /* cost of what one thread does before a second has woken up */
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
} work;

static void work_as(work *w, int thread, int is_caller) {
    const fi_fpenv saved = fi_fpenv_default();
    int64_t polled = is_caller && w->poll ? nanoseconds() : 0;
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

/* tiles * thread / threads, by products that do not overflow. */
static uint64_t share_begin(uint64_t tiles, uint64_t thread, uint64_t threads) {
    return tiles / threads * thread + tiles % threads * thread / threads;
}

int fi_parallel(fi_tile do_tile, const void *job, uint64_t tiles, uint64_t cost, int threads, fi_poll poll,
                void *context) {
    if (tiles == 0)
        return 0;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    if ((uint64_t)threads > tiles)
        threads = (int)tiles;
    /* a forked child has libgomp's memory of threads that it does not have: it would wait for them */
    if (cost < SERIAL_BELOW || getpid() != home_process)
        threads = 1;
#ifdef _OPENMP
    if (threads > 1)
        threads = threads_that_can_be_made(threads);
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
        atomic_init(&slabs[s].next, (size_t)share_begin(tiles, (uint64_t)s, (uint64_t)threads));
        slabs[s].end = share_begin(tiles, (uint64_t)s + 1, (uint64_t)threads);
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

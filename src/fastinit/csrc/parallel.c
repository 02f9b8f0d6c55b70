/* parallel.c - does the tiles of one task on several threads.
 *
 * Each thread owns a slab of consecutive tiles, so that the pages it touches first are next to each other; one that
 * is done helps the others. The calling thread looks for signals between batches of tiles. */
#include "parallel.h"

#include <stdatomic.h>
#include <stdlib.h>

#define BATCH 32768 /* cost between two looks at the clock */

typedef struct {
    _Alignas(64) atomic_size_t next; /* memory has room for every tile; 64 bits would need libatomic on some CPUs */
    uint64_t end;
} slab;

typedef struct {
    const fi_task *task;
    slab *slabs;
    int slab_count;
    uint64_t batch;
} slabs_job;

static void work_on_slabs(void *context, fi_worker *worker) {
    const slabs_job *j = context;
    for (int s = 0; s < j->slab_count; s++) {
        slab *mine = &j->slabs[(worker->number + s) % j->slab_count];
        while (!fi_is_stopped(worker)) {
            uint64_t tile = atomic_fetch_add_explicit(&mine->next, (size_t)j->batch, memory_order_relaxed);
            if (tile >= mine->end)
                break;
            const uint64_t end = mine->end - tile < j->batch ? mine->end : tile + j->batch;
            for (; tile < end; tile++)
                j->task->do_tile(j->task->job, tile, worker);
            (void)fi_look(worker);
        }
    }
}

/* The first tile of slab s: tiles * s / threads, rounded down, without overflow. */
static uint64_t share(uint64_t tiles, int s, int threads) {
    const uint64_t n = (uint64_t)threads, i = (uint64_t)s;
    return tiles / n * i + tiles % n * i / n;
}

int fi_parallel(const fi_task *task, int threads, fi_poll poll, void *context) {
    const uint64_t tiles = task->tiles;
    if (tiles == 0)
        return 0;
    threads = tiles == 1 || task->cost < FI_SERIAL_BELOW ? 1 : fi_team_size(threads);
    const uint64_t per_tile = task->cost / tiles;
    /* not one for each of many threads on the stack: a thread's can be small */
    slab one, *slabs = threads > 1 ? aligned_alloc(64, (size_t)threads * sizeof *slabs) : &one;
    if (!slabs) {
        slabs = &one;
        threads = 1;
    }
    slabs_job j = {task, slabs, threads, per_tile >= BATCH ? 1 : BATCH / (per_tile + 1)};
    for (int s = 0; s < threads; s++) {
        atomic_init(&slabs[s].next, (size_t)share(tiles, s, threads));
        slabs[s].end = share(tiles, s + 1, threads);
    }
    const int stopped = fi_team_run(work_on_slabs, &j, threads, poll, context);
    if (slabs != &one)
        free(slabs);
    return stopped;
}

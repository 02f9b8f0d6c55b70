/* stages.c - does tasks on several threads that wait for each other at the end of each stage, in one team.
 *
 * A thread that waits holds no tile: what the others have not begun, the first one that is awake takes. So a thread
 * whose CPU is taken away for a while delays a tile that it is at, and nothing else. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "parallel.h"

/* Looks at a stage's end before a thread sleeps: tenths of a millisecond, if nobody else needs its CPU. */
#define LOOKS 4000
#define FEW_LOOKS 50

typedef struct {
    atomic_size_t begun, done; /* tiles */
    size_t tiles;
} progress;

typedef struct {
    const fi_stage *stages;
    size_t count;
    progress *stage; /* of each of them */
    int useful;      /* threads; others would only take turns with them */
    int looks;
    int each;
    int64_t *share_done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_int sleepers;
} stages_job;

static void wake(stages_job *j) {
    if (atomic_load(&j->sleepers)) {
        pthread_mutex_lock(&j->lock);
        pthread_cond_broadcast(&j->changed);
        pthread_mutex_unlock(&j->lock);
    }
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int is_done(const progress *p) { return atomic_load(&p->done) == p->tiles; }

/* Under the lock, until the stage is done or the work is stopped; not longer than between two looks for a signal. */
static void sleep_until(stages_job *j, const progress *p, fi_worker *worker) {
    struct timespec end;
    timespec_get(&end, TIME_UTC);
    end.tv_nsec += FI_LOOK_NANOSECONDS;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    atomic_fetch_add(&j->sleepers, 1); /* before the look at the stage: whoever ends it looks at the sleepers then */
    while (!is_done(p) && !fi_is_stopped(worker))
        if (pthread_cond_timedwait(&j->changed, &j->lock, &end) == ETIMEDOUT)
            break;
    atomic_fetch_sub(&j->sleepers, 1);
}

static void wait_for(stages_job *j, const progress *p, fi_worker *worker) {
    for (int look = 0; look < j->looks; look++) {
        if (is_done(p))
            return;
        relax();
    }
    while (!is_done(p) && !fi_look(worker)) {
        pthread_mutex_lock(&j->lock);
        sleep_until(j, p, worker);
        pthread_mutex_unlock(&j->lock);
    }
}

static void do_stage(stages_job *j, const fi_stage *stage, progress *p, fi_worker *worker) {
    size_t before = 0; /* tiles of the tasks before this one */
    const fi_task *task = stage->tasks;
    while (!fi_is_stopped(worker) && atomic_load_explicit(&p->begun, memory_order_relaxed) < p->tiles) {
        const size_t tile = atomic_fetch_add_explicit(&p->begun, 1, memory_order_relaxed);
        if (tile >= p->tiles)
            break;
        for (; tile - before >= task->tiles; task++)
            before += (size_t)task->tiles;
        task->do_tile(task->job, tile - before, worker);
        if (atomic_fetch_add(&p->done, 1) + 1 == p->tiles)
            wake(j);
        (void)fi_look(worker);
    }
}

static void work_on_stages(void *context, fi_worker *worker) {
    stages_job *j = context;
    if (worker->number >= j->useful)
        return;
    for (size_t s = 0; s < j->count; s++) {
        do_stage(j, &j->stages[s], &j->stage[s], worker);
        wait_for(j, &j->stage[s], worker);
        if (worker->number == 0 && !fi_is_stopped(worker)) {
            *j->share_done += j->stages[s].share;
            if (j->each)
                (void)fi_look_now(worker);
        }
        if (fi_is_stopped(worker)) {
            wake(j);
            return;
        }
    }
}

int fi_parallel_stages(const fi_stage *stages, size_t count, int threads, int each, int64_t *done, fi_poll poll,
                       void *context) {
    progress *stage = malloc(count * sizeof *stage);
    if (!stage)
        return FI_NO_MEMORY;
    uint64_t cost = 0;
    size_t most = 0;
    for (size_t s = 0; s < count; s++) {
        stage[s].tiles = 0;
        for (size_t i = 0; i < stages[s].count; i++) {
            stage[s].tiles += (size_t)stages[s].tasks[i].tiles;
            cost += stages[s].tasks[i].cost;
        }
        most = stage[s].tiles > most ? stage[s].tiles : most;
        atomic_init(&stage[s].begun, 0);
        atomic_init(&stage[s].done, 0);
    }
    threads = most < 2 || cost < FI_SERIAL_BELOW ? 1 : fi_team_size(threads);
    stages_job j = {.stages = stages,
                    .count = count,
                    .stage = stage,
                    .useful = (int)fi_least(threads, fi_cpus()),
                    .looks = LOOKS,
                    .each = each,
                    .share_done = done,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .changed = PTHREAD_COND_INITIALIZER};
    atomic_init(&j.sleepers, 0);
    const int stopped = fi_team_run(work_on_stages, &j, threads, poll, context);
    if (!stopped && threads > 1)
        fi_count_stages(count);
    free(stage);
    return stopped;
}

/* team.c - threads that do one piece of work together: the one file that knows OpenMP. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "team.h"

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

#define MAX_THREADS 1024

struct fi_team {
    fi_work *work;
    void *context;
    atomic_int stop;
    fi_poll poll;
    void *poll_context;
    jmp_buf *way_out; /* of a team, for the calling thread; NULL where it works alone */
};

static pid_t home_process;
/* memory has room for what they count; 64 bits would need libatomic on some CPUs */
static atomic_size_t teams, stages_ended, packed_b;

/* ---- looking for signals ------------------------------------------------------------------------------- */

static _Thread_local int64_t polled; /* through all work: a product can be many short pieces */

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int fi_is_stopped(const fi_worker *worker) { return atomic_load_explicit(&worker->team->stop, memory_order_relaxed); }

int fi_look_now(fi_worker *worker) {
    fi_team *team = worker->team;
    if (worker->number == 0 && team->poll && !fi_is_stopped(worker)) {
        fi_fpenv_restore(worker->saved); /* the callback is the caller's code */
        const int stop = team->poll(team->poll_context);
        if (team->way_out && getpid() != home_process) { /* a child without the team: it would wait for it */
            atomic_store_explicit(&team->stop, stop ? stop : FI_FORKED, memory_order_relaxed);
            longjmp(*team->way_out, 1);
        }
        (void)fi_fpenv_default();
        if (stop)
            atomic_store_explicit(&team->stop, stop, memory_order_relaxed);
        polled = nanoseconds();
    }
    return fi_is_stopped(worker);
}

int fi_look(fi_worker *worker) {
    if (worker->number == 0 && worker->team->poll && nanoseconds() - polled > FI_LOOK_NANOSECONDS)
        return fi_look_now(worker);
    return fi_is_stopped(worker);
}

/* ---- teams --------------------------------------------------------------------------------------------- */

static void work_as(fi_team *team, int number) {
    fi_worker worker = {.team = team, .number = number, .saved = fi_fpenv_default()};
    team->work(team->context, &worker);
    fi_fpenv_restore(worker.saved);
    if (worker.packed)
        atomic_fetch_add_explicit(&packed_b, worker.packed, memory_order_relaxed);
}

#ifdef _OPENMP
/* libgomp keeps the threads of a calling thread's last team, ends those that the next one does not need, and ends the
 * process when it cannot make one. So a team has the size that was asked for, however little there is to do; and where
 * it is larger than the last one, as many threads are made by hand first as it grows by. Where that fails, it grows as
 * far as that went. */
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

static void work_in_team(fi_team *team, int threads) {
    jmp_buf way_out;
    team->way_out = &way_out;
    atomic_fetch_add_explicit(&teams, 1, memory_order_relaxed);
    if (setjmp(way_out) == 0) {
#pragma omp parallel num_threads(threads)
        work_as(team, omp_get_thread_num());
    }
}
#endif

int fi_team_size(int threads) {
#ifdef _OPENMP
    static _Thread_local int last = 1;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    /* a forked child has libgomp's memory of threads that it does not have: it would wait for them; and a team within a
     * team, as of a fill in a signal handler, would be of one */
    if (threads <= 1 || getpid() != home_process || omp_get_active_level() >= omp_get_max_active_levels())
        return 1;
    if (threads > last)
        last += threads_that_can_be_made(threads - last);
    else
        last = threads;
    return last;
#else
    (void)threads;
    return 1;
#endif
}

int fi_team_run(fi_work *work, void *context, int threads, fi_poll poll, void *poll_context) {
    fi_team team = {.work = work, .context = context, .poll = poll, .poll_context = poll_context};
    atomic_init(&team.stop, 0);
#ifdef _OPENMP
    if (threads > 1)
        work_in_team(&team, threads);
    else
#endif
        work_as(&team, 0);
    return atomic_load(&team.stop);
}

/* ---- counts -------------------------------------------------------------------------------------------- */

fi_counts fi_counted(void) {
    return (fi_counts){atomic_load(&teams), atomic_load(&stages_ended), atomic_load(&packed_b)};
}

void fi_count_stages(size_t stages) { atomic_fetch_add_explicit(&stages_ended, stages, memory_order_relaxed); }

/* ---- how many threads ------------------------------------------------------------------------------------ */

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

int fi_cpus(void) {
#ifdef _OPENMP
    return processors();
#else
    return 1;
#endif
}

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

/* steps.c - does a list of steps, stage by stage. */
#include "steps.h"

#include <stdlib.h>

#define TILES_A_THREAD 3 /* of a stage's products, at least: more even, and more copies of A and B */

/* Tasks of one tile that takes long come first: the others are done beside it. Those of small tiles come last: they
 * leave no thread without work. */
static int turn(const fi_step *step) {
    switch (step->kind) {
    case FI_STEP_TRIANGULAR:
    case FI_STEP_CHOLESKY: return 0;
    case FI_STEP_MULTIPLY: return 1;
    default: return 2;
    }
}
enum { TURNS = 3 };

static fi_task task_of(fi_step *step, const fi_isa *isa, char *scratch, double terms, int threads, char **room) {
    switch (step->kind) {
    case FI_STEP_FILL: {
        char *own = *room;
        *room += fi_fill_room();
        return fi_fill_task(own, isa, &step->as.fill);
    }
    case FI_STEP_MULTIPLY: {
        fi_multiplication *m = &step->as.multiply;
        const int64_t least =
            threads > 1 ? (int64_t)((double)threads * TILES_A_THREAD * (double)fi_terms(m) / terms) : 1;
        return fi_product_task(m, isa, scratch, least, threads);
    }
    case FI_STEP_ACCUMULATE: return fi_accumulate_task(&step->as.accumulate);
    case FI_STEP_SCALE: return fi_scale_task(&step->as.scale);
    case FI_STEP_REFLECTORS: return fi_reflectors_task(&step->as.reflectors);
    case FI_STEP_TRIANGULAR: return fi_triangular_task(&step->as.triangular, scratch);
    case FI_STEP_CHOLESKY: return fi_cholesky_task(&step->as.cholesky);
    }
    return (fi_task){0};
}

/* The steps of one stage as tasks; returns how many. */
static size_t tasks_of(fi_task *tasks, fi_step *steps, size_t n, const fi_isa *isa, char *scratch, int threads,
                       char **room) {
    double terms = 1;
    for (size_t i = 0; i < n; i++)
        if (steps[i].kind == FI_STEP_MULTIPLY)
            terms += (double)fi_terms(&steps[i].as.multiply);
    size_t count = 0;
    for (int t = 0; t < TURNS; t++)
        for (size_t i = 0; i < n; i++)
            if (turn(&steps[i]) == t) {
                tasks[count] = task_of(&steps[i], isa, scratch, terms, threads, room);
                count += tasks[count].tiles > 0;
            }
    return count;
}

int fi_run_steps(const fi_isa *isa, fi_step *steps, size_t n, char *scratch, int threads, int each, int64_t *done,
                 fi_poll poll, void *context) {
    if (n == 0)
        return 0;
    size_t fills = 0, count = 0;
    for (size_t i = 0; i < n; i++)
        fills += steps[i].kind == FI_STEP_FILL;
    fi_task *tasks = malloc(n * sizeof *tasks);
    fi_stage *stages = malloc(n * sizeof *stages);
    char *rooms = malloc(fills ? fills * fi_fill_room() : 1), *room = rooms;
    int stopped = FI_NO_MEMORY;
    /* more threads than CPUs do not need more tiles */
    const int at_once = threads > 1 ? (int)fi_least(threads, fi_cpus()) : 1;
    if (tasks && stages && rooms) {
        fi_task *next = tasks;
        for (size_t first = 0, end = 0; first < n; first = end) {
            fi_stage *stage = &stages[count++];
            *stage = (fi_stage){.tasks = next};
            for (; end < n && steps[end].stage == steps[first].stage; end++)
                stage->share += steps[end].share;
            stage->count = tasks_of(next, steps + first, end - first, isa, scratch, at_once, &room);
            next += stage->count;
        }
        stopped = fi_parallel_stages(stages, count, threads, each, done, poll, context);
    }
    free(tasks);
    free(stages);
    free(rooms);
    return stopped;
}

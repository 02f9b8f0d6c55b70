/* parallel.h - tiles of work, done on several threads. */
#ifndef FASTINIT_PARALLEL_H
#define FASTINIT_PARALLEL_H

#include <stdint.h>

#include "team.h"

/* Does one tile of a job. One that takes long looks for signals by fi_look, and may leave the rest undone then. */
typedef void fi_tile(const void *job, uint64_t tile, fi_worker *worker);

/* Tiles 0 .. tiles - 1 of a job, in any order; `cost`, that of all of them, is in elements of a fill. */
typedef struct {
    fi_tile *do_tile;
    const void *job;
    uint64_t tiles, cost;
} fi_task;

/* Does a task on up to `threads` threads. Returns 0, or what poll returned, or FI_FORKED: then some tiles have not been
 * done. */
int fi_parallel(const fi_task *task, int threads, fi_poll poll, void *context);

/* Tasks that may be done side by side: all of a stage are done before the next one begins. */
typedef struct {
    const fi_task *tasks;
    size_t count;
    int64_t share; /* of what there is to do, as the caller counts it */
} fi_stage;

/* Does the stages, one after the other. The calling thread adds the shares of those that are done to *done before it
 * polls; it also polls at the end of each of them if `each`. */
int fi_parallel_stages(const fi_stage *stages, size_t count, int threads, int each, int64_t *done, fi_poll poll,
                       void *context);

#endif

/* parallel.h - tiles of work, done on several threads. */
#ifndef FASTINIT_PARALLEL_H
#define FASTINIT_PARALLEL_H

#include <stdint.h>

#include "fastinit.h"

/* Does one tile of a job; `thread` is below the number asked for. */
typedef void (*fi_tile)(const void *job, uint64_t tile, int thread);

/* Does tiles 0 .. tiles - 1 on up to `threads` threads; `cost`, that of all of them, is in elements of a fill. Returns
 * 0, or what poll returned, or FI_FORKED: then some tiles have not been done. */
int fi_parallel(fi_tile do_tile, const void *job, uint64_t tiles, uint64_t cost, int threads, fi_poll poll,
                void *context);

#endif

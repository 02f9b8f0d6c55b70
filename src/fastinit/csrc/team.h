/* team.h - a function done by several threads at once, of which the calling one looks for signals. */
#ifndef FASTINIT_TEAM_H
#define FASTINIT_TEAM_H

#include <stddef.h>

#include "fastinit.h"
#include "fpenv.h"

#define FI_LOOK_NANOSECONDS 20000000 /* between two looks for a signal */

typedef struct fi_team fi_team;

/* A thread of a team. */
typedef struct {
    fi_team *team;
    int number; /* 0 is the calling thread */
    fi_fpenv saved;
    size_t packed; /* bytes of B that it has copied for products */
} fi_worker;

/* What each thread of a team does; it comes to its end soon once fi_is_stopped. */
typedef void fi_work(void *context, fi_worker *worker);

/* How many threads the next team will have: `threads`, or fewer where there cannot be so many. */
int fi_team_size(int threads);

/* CPUs that this process may use. */
int fi_cpus(void);

/* Has the work done by so many threads, fi_team_size's. Returns 0, or what poll returned, or FI_FORKED: then some of it
 * has not been done. */
int fi_team_run(fi_work *work, void *context, int threads, fi_poll poll, void *poll_context);

/* Whether the work is to end early. */
int fi_is_stopped(const fi_worker *worker);

/* The calling thread polls, if it has not for a while; others do nothing. Returns fi_is_stopped. */
int fi_look(fi_worker *worker);

/* The same, without waiting for the while to pass. */
int fi_look_now(fi_worker *worker);

/* Counts for tests, of the whole process since it began. */
typedef struct {
    size_t teams;    /* that were joined, of two threads or more */
    size_t stages;   /* barriers: ends of stages */
    size_t packed_b; /* bytes of B that were copied for products */
} fi_counts;

fi_counts fi_counted(void);
void fi_count_stages(size_t stages);

#endif

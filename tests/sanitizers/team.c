/* team.c - OpenMP's parallel regions by POSIX threads, in the place of libgomp.
 *
 * ThreadSanitizer does not see how libgomp's threads wait for each other and takes every region for a race. It sees
 * pthread_create and pthread_join. GCC turns `#pragma omp parallel` into a call of GOMP_parallel. */
#include <pthread.h>
#include <stdlib.h>

static _Thread_local int thread_num;

typedef struct {
    void (*work)(void *);
    void *data;
    int number;
} member;

static void *run(void *argument) {
    const member *own = argument;
    thread_num = own->number;
    own->work(own->data);
    return NULL;
}

void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags;
    pthread_t *made = malloc(threads * sizeof *made);
    member *members = malloc(threads * sizeof *members);
    for (unsigned i = 1; i < threads; i++) {
        members[i] = (member){work, data, (int)i};
        if (pthread_create(&made[i], NULL, run, &members[i]))
            abort();
    }
    work(data);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(made[i], NULL);
    free(made);
    free(members);
}

int omp_get_thread_num(void) { return thread_num; }
int omp_get_max_threads(void) { return 4; }
int omp_get_num_procs(void) { return 4; }
int omp_get_thread_limit(void) { return 4; }
int omp_get_proc_bind(void) { return 1; } /* so that the CPUs are those of omp_get_num_procs */
int omp_get_active_level(void) { return 0; }
int omp_get_max_active_levels(void) { return 1; }

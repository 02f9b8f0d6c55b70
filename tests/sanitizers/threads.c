/* threads.c - the C core on teams of threads, from several threads at once: for ThreadSanitizer.
 *
 * Every caller fills, gathers, multiplies and makes reflectors with its own teams, now and then stopped by its poll,
 * and compares with what one thread makes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"

enum { ELEMENTS = 300000, CALLERS = 3, ROUNDS = 4, N = 192, TEAM = 4 };

static const fi_isa *isa;
static fi_values values;
static float expected[ELEMENTS], product[N * N], reflectors[N * 64];

static int stop_at_once(void *context) { return ++*(int *)context; }

static void fill(float *out, int threads, fi_poll poll, void *context) {
    const fi_plan plan = {7, (char *)out, 1, {{ELEMENTS, 1, 4, NULL}}};
    fi_run(isa, &values, &plan, threads, poll, context);
}
static void multiply(const float *a, float *c, int threads) {
    char *scratch = aligned_alloc(64, (size_t)threads * FI_SCRATCH);
    const fi_product p = {FI_FLOAT32, FI_SET, N, N, N, (const char *)a, (const char *)a, (char *)c,
                          N,          1,      N, 1, N, FI_ALL,          FI_ALL,          FI_ALL};
    fi_multiply(isa, &p, scratch, threads, NULL, NULL);
    free(scratch);
}
static void reflect(float *v, int threads) {
    double signs[64];
    memcpy(v, expected, sizeof reflectors);
    fi_reflectors(FI_FLOAT32, v, N, 64, 64, signs, threads, NULL, NULL);
}

static void *caller(void *wrong) {
    float *out = malloc(sizeof expected), *c = malloc(sizeof product), *v = malloc(sizeof reflectors);
    for (int round = 0; round < ROUNDS; round++) {
        fill(out, 1 + (round + 1) % TEAM, NULL, NULL);
        *(int *)wrong |= memcmp(out, expected, sizeof expected) != 0;
        multiply(expected, c, TEAM);
        *(int *)wrong |= memcmp(c, product, sizeof product) != 0;
        reflect(v, TEAM);
        *(int *)wrong |= memcmp(v, reflectors, sizeof reflectors) != 0;
        int polls = 0;
        fill(out, TEAM, stop_at_once, &polls);
    }
    free(out), free(c), free(v);
    return NULL;
}

int main(void) {
    const double parameters[4] = {0, 1, 0, 0};
    fi_parallel_init();
    fi_prepare(&values, FI_NORMAL, FI_FLOAT32, parameters, 1, 2);
    for (int i = 0; (isa = fi_isas_compiled[i]); i++) {
        if (!fi_isa_runs(isa))
            continue;
        pthread_t made[CALLERS];
        int wrong[CALLERS] = {0};
        fill(expected, 1, NULL, NULL);
        multiply(expected, product, 1);
        reflect(reflectors, 1);
        for (int k = 0; k < CALLERS; k++)
            if (pthread_create(&made[k], NULL, caller, &wrong[k]))
                return 2;
        for (int k = 0; k < CALLERS; k++) {
            pthread_join(made[k], NULL);
            if (wrong[k]) {
                fprintf(stderr, "threads: %s: teams give other values\n", isa->name);
                return 1;
            }
        }
        printf("    %-7s no race, the same values\n", isa->name);
    }
    return 0;
}

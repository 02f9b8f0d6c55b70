/* threads.c - the C core on teams of threads, from several threads at once: for ThreadSanitizer.
 *
 * Every caller fills, gathers, multiplies and makes reflectors with its own teams, now and then stopped by its poll,
 * and compares with what one thread makes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"

enum { ELEMENTS = 300000, CALLERS = 3, ROUNDS = 4, N = 192, ROWS = 768, TEAM = 4 };

static const fi_isa *isa;
static fi_values values;
static float expected[ELEMENTS], product[N * N], reflectors[(ROWS + 64) * 64];

static int stop_at_once(void *context) { return ++*(int *)context; }

static void fill(float *out, int threads, fi_poll poll, void *context) {
    const fi_plan plan = {7, (char *)out, 1, {{ELEMENTS, 1, 4, NULL}}};
    fi_run(isa, &values, &plan, threads, poll, context);
}
static void multiply(const float *a, float *c, int threads) {
    char *scratch = aligned_alloc(64, (size_t)threads * FI_SCRATCH);
    const fi_product p = {FI_FLOAT32, FI_SET, N, N, N, (const char *)a, (const char *)a, (char *)c,
                          N,          1,      N, 1, N, FI_ALL,          FI_ALL,          FI_ALL};
    fi_step step = {.kind = FI_STEP_MULTIPLY, .as.multiply = {.product = p, .count = 1}};
    int64_t done = 0;
    fi_run_steps(isa, &step, 1, scratch, threads, 0, &done, NULL, NULL);
    free(scratch);
}
/* Normals, their reflectors, and what these make of themselves: stages that read what the one before wrote. */
static int reflect(float *v, float *made, int threads, int each, fi_poll poll, void *context) {
    double signs[64];
    char *scratch = aligned_alloc(64, (size_t)threads * FI_SCRATCH);
    const fi_plan plan = {7, (char *)v, 1, {{ROWS * 64, 1, 4, NULL}}};
    const fi_product gram = {FI_FLOAT32, FI_SET, 64, 64, ROWS, (const char *)v, (const char *)v, (char *)made,
                             1,          64,     64, 1,  64,   FI_ALL,          FI_ALL,          FI_ALL};
    const fi_product back = {FI_FLOAT32,
                             FI_SUBTRACT,
                             ROWS,
                             64,
                             64,
                             (const char *)v,
                             (const char *)made,
                             (char *)made + 64 * 64 * 4,
                             64,
                             1,
                             64,
                             1,
                             64,
                             FI_ALL,
                             FI_ALL,
                             FI_ALL};
    fi_step steps[] = {
        {.kind = FI_STEP_FILL, .stage = 0, .as.fill = {.values = &values, .plan = &plan}},
        {.kind = FI_STEP_REFLECTORS, .stage = 1, .as.reflectors = {FI_FLOAT32, v, ROWS, 64, 64, signs}},
        {.kind = FI_STEP_MULTIPLY, .stage = 2, .as.multiply = {.product = gram, .count = 1}},
        {.kind = FI_STEP_TRIANGULAR, .stage = 3, .as.triangular = {FI_FLOAT32, made, 64, NULL}},
        {.kind = FI_STEP_MULTIPLY, .stage = 4, .as.multiply = {.product = back, .count = 1}},
    };
    int64_t done = 0;
    memset(made, 0, sizeof reflectors);
    const int stopped =
        fi_run_steps(isa, steps, sizeof steps / sizeof *steps, scratch, threads, each, &done, poll, context);
    free(scratch);
    return stopped;
}

static void *caller(void *wrong) {
    float *out = malloc(sizeof expected), *c = malloc(sizeof product), *v = malloc(ROWS * 64 * 4);
    float *made = malloc(sizeof reflectors);
    for (int round = 0; round < ROUNDS; round++) {
        fill(out, 1 + (round + 1) % TEAM, NULL, NULL);
        *(int *)wrong |= memcmp(out, expected, sizeof expected) != 0;
        multiply(expected, c, TEAM);
        *(int *)wrong |= memcmp(c, product, sizeof product) != 0;
        reflect(v, made, TEAM, round % 2, NULL, NULL);
        *(int *)wrong |= memcmp(made, reflectors, sizeof reflectors) != 0;
        int polls = 0;
        *(int *)wrong |= reflect(v, made, TEAM, 1, stop_at_once, &polls) != 1 || polls != 1;
        polls = 0;
        fill(out, TEAM, stop_at_once, &polls);
    }
    free(out), free(c), free(v), free(made);
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
        static float v[ROWS * 64];
        reflect(v, reflectors, 1, 0, NULL, NULL);
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

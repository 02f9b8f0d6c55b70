/* polls.c - how much work passes between two looks for a signal, by a clock that work alone moves.
 *
 * Compiled by test_polls.py with the files that do steps, without OpenMP and with clock_gettime renamed to fake_clock.
 * Prints "job milliseconds" for the longest stretches of products, and "job elements" for what is done one by one. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fastinit.h"
#include "lanes_base.h"

static int64_t now, polled, longest; /* nanoseconds */
static int64_t looks;

int fake_clock(clockid_t clock, struct timespec *time) {
    (void)clock;
    looks++;
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
}

/* 100 million terms a second: plain C without an fma. */
static size_t multiply(const fi_product *p, char *scratch) {
    (void)scratch;
    now += p->rows * p->columns * p->depth * 10;
    return 0;
}

static int poll(void *context) {
    (void)context;
    longest = now - polled > longest ? now - polled : longest;
    polled = now;
    return 0;
}

static void product(const char *job, int64_t rows, int64_t columns, int64_t depth, int64_t diagonal, fi_dtype dtype,
                    int times) {
    const fi_isa slow = {.multiply = multiply, .terms = TERMS};
    const fi_product p = {.dtype = dtype,
                          .rows = rows,
                          .columns = columns,
                          .depth = depth,
                          .row_reach = FI_ALL,
                          .column_reach = FI_ALL,
                          .diagonal = diagonal};
    polled = now;
    longest = 0;
    fi_step *steps = calloc((size_t)times, sizeof *steps);
    for (int i = 0; i < times; i++)
        steps[i] = (fi_step){.kind = FI_STEP_MULTIPLY, .stage = i / 100, .as.multiply = {.product = p, .count = 1}};
    int64_t done = 0;
    fi_run_steps(&slow, steps, (size_t)times, NULL, 1, 0, &done, poll, NULL);
    free(steps);
    (void)poll(NULL);
    printf("%s %lld\n", job, (long long)(longest / 1000000));
}

static void one_by_one(int64_t rows, int64_t columns) {
    const size_t count = (size_t)(rows * columns);
    float *in = calloc(count, sizeof *in);
    double *sum = calloc(count, sizeof *sum);
    looks = 0;
    const fi_offsets down = {rows, columns * 4, NULL}, across = {columns, 4, NULL};
    fi_step scale = {
        .kind = FI_STEP_SCALE,
        .as.scale = {FI_FLOAT32, FI_FLOAT32, 2, (const char *)in, down, across, (char *)in, down, across, 0, 0}};
    int64_t done = 0;
    fi_run_steps(NULL, &scale, 1, NULL, 1, 0, &done, poll, NULL);
    printf("scale %lld\n", (long long)((int64_t)count / looks));
    looks = 0;
    fi_step accumulate = {
        .kind = FI_STEP_ACCUMULATE,
        .as.accumulate = {FI_FLOAT32, rows, columns, 1, 0, columns, (const char *)in, sum, columns, 0, 0}};
    fi_run_steps(NULL, &accumulate, 1, NULL, 1, 0, &done, poll, NULL);
    printf("accumulate %lld\n", (long long)((int64_t)count / looks));
    free(in), free(sum);
}

int main(void) {
    fi_parallel_init();
    product("gram", 512, 512, 1024, 0, FI_FLOAT32, 1);
    product("factor", 128, 128, 15000, 0, FI_FLOAT32, 1);
    product("update", 20000, 1000, 128, FI_ALL, FI_FLOAT32, 1);
    product("projection", 128, 10000, 20000, FI_ALL, FI_FLOAT64, 1);
    product("row", 1, 5000, 50000, FI_ALL, FI_FLOAT64, 1);
    product("many", 64, 96, 16, FI_ALL, FI_FLOAT32, 1000);
    one_by_one(1, 3000000);
    one_by_one(3000000, 1);
    one_by_one(3, 1000000);
    return 0;
}

/* polls.c - how much work passes between two looks for a signal, by a clock that work alone moves.
 *
 * Compiled by test_polls.py with matrix.c, elementwise.c and parallel.c, without OpenMP and with clock_gettime renamed
 * to fake_clock. Prints "job milliseconds" for the longest stretches of products, and "job elements" for what is done
 * one by one. */
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
static void multiply(const fi_product *p, char *scratch) {
    (void)scratch;
    now += p->rows * p->columns * p->depth * 10;
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
    for (int i = 0; i < times; i++)
        fi_multiply(&slow, &p, NULL, 1, poll, NULL);
    (void)poll(NULL);
    printf("%s %lld\n", job, (long long)(longest / 1000000));
}

static void one_by_one(int64_t rows, int64_t columns) {
    const size_t count = (size_t)(rows * columns);
    float *in = calloc(count, sizeof *in);
    double *sum = calloc(count, sizeof *sum);
    looks = 0;
    const fi_offsets down = {rows, columns * 4, NULL}, across = {columns, 4, NULL};
    const fi_scaling s = {FI_FLOAT32, FI_FLOAT32, 2, (const char *)in, down, across, (char *)in, down, across};
    fi_scale(&s, 1, poll, NULL);
    printf("scale %lld\n", (long long)((int64_t)count / looks));
    looks = 0;
    fi_accumulate(FI_FLOAT32, in, columns, sum, columns, rows, columns, 1, poll, NULL);
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

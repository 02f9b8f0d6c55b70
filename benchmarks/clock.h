/* clock.h - seconds, and the clock of this CPU by a chain of dependent additions; x86-64. */
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* From 4 n additions, a cycle each. */
static inline double clock_hz(long n) {
    long x = 0;
    const double start = seconds();
    for (long i = 0; i < n; i++)
        __asm__ volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0" : "+r"(x));
    return 4.0 * (double)n / (seconds() - start);
}

#endif

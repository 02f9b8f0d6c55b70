/* kernels.c - what an element costs each kernel: instructions, and cycles of one thread where memory is no limit.
 *
 *     make bench   (or: benchmarks/kernels)
 *
 * A parent process counts the instructions by stepping a child through a fill of N and one of 2N elements; those that
 * begin with the bytes of VEX or EVEX are vector instructions (loads, stores and a few on masks included). Cycles are
 * the least of many fills of 16 KiB, by the clock that a chain of dependent additions shows. Linux, x86-64. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "fastinit.h"

enum { STEPPED = 512, TIMED_BYTES = 16384, CALLS = 40, ROUNDS = 250 };
#define SECONDS 0.25 /* for the rounds of one kernel */

static const struct {
    const char *name;
    fi_distribution distribution;
    double parameters[4];
} KERNELS[] = {
    {"uniform", FI_UNIFORM, {-0.05, 0.05}},
    {"normal", FI_NORMAL, {0, 0.02}},
    {"truncated [-2, 2]", FI_TRUNCATED, {0, 0.02, -2, 2}},
    {"truncated [-3, 3]", FI_TRUNCATED, {0, 0.02, -3, 3}},
    {"truncated [4, 6]", FI_TRUNCATED, {0, 0.02, 4, 6}},
};
static const struct {
    const char *name;
    fi_dtype dtype;
} DTYPES[] = {{"float32", FI_FLOAT32}, {"bfloat16", FI_BFLOAT16}, {"float64", FI_FLOAT64}};

static _Alignas(64) char memory[2 * STEPPED * 8 + TIMED_BYTES];

typedef struct {
    double all, vector;
} counts;

/* Steps a child from its first stop to its second: `elements` elements filled between them. */
static counts stepped(const fi_isa *isa, const fi_values *values, size_t elements) {
    const pid_t child = fork();
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        isa->fill(values, 0, elements, memory); /* pages and lazy bindings are there afterwards */
        raise(SIGTRAP);
        isa->fill(values, 0, elements, memory);
        raise(SIGUSR1);
        _exit(0);
    }
    counts found = {0, 0};
    int status;
    waitpid(child, &status, 0);
    while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
        struct user_regs_struct registers;
        ptrace(PTRACE_GETREGS, child, 0, &registers);
        const unsigned char first = (unsigned char)ptrace(PTRACE_PEEKTEXT, child, (void *)registers.rip, 0);
        found.all++;
        found.vector += first == 0x62 || first == 0xC4 || first == 0xC5;
        if (ptrace(PTRACE_SINGLESTEP, child, 0, 0) || waitpid(child, &status, 0) < 0)
            break;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return found;
}

/* Cycles an element: clock and time each at their best, since a neighbour would slow either. */
static double cycles(const fi_isa *isa, const fi_values *values) {
    const size_t elements = TIMED_BYTES / fi_item_size(values->dtype);
    double hz = 0, fastest = 1e9;
    const double end = seconds() + SECONDS;
    for (int round = 0; round < ROUNDS && (round < 3 || seconds() < end); round++) {
        const double hz_now = clock_hz(200000), start = seconds();
        for (uint64_t call = 0; call < CALLS; call++)
            isa->fill(values, call * elements, elements, memory);
        const double taken = (seconds() - start) / ((double)CALLS * (double)elements);
        hz = hz_now > hz ? hz_now : hz;
        fastest = taken < fastest ? taken : fastest;
    }
    return fastest * hz;
}

int main(void) {
    printf("%-10s%-20s%-10s%14s%10s%10s%10s\n", "ISA", "kernel", "dtype", "instructions", "vector", "cycles",
           "a cycle");
    for (int i = 0; fi_isas_compiled[i]; i++) {
        const fi_isa *isa = fi_isas_compiled[i];
        if (!fi_isa_runs(isa) || isa == &fi_isa_base) /* whose instructions are too many to step through */
            continue;
        for (size_t k = 0; k < sizeof KERNELS / sizeof *KERNELS; k++)
            for (size_t d = 0; d < sizeof DTYPES / sizeof *DTYPES; d++) {
                fi_values values;
                if (fi_prepare(&values, KERNELS[k].distribution, DTYPES[d].dtype, KERNELS[k].parameters, 1, 2))
                    return 1;
                const counts once = stepped(isa, &values, STEPPED), twice = stepped(isa, &values, 2 * (size_t)STEPPED);
                const double all = (twice.all - once.all) / STEPPED, taken = cycles(isa, &values);
                printf("%-10s%-20s%-10s%14.2f%10.2f%10.2f%10.2f\n", isa->name, KERNELS[k].name, DTYPES[d].name, all,
                       (twice.vector - once.vector) / STEPPED, taken, all / taken);
                fflush(stdout);
            }
    }
    return 0;
}

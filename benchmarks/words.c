/* words.c - raw words of one thread against what the vector ports allow, in cycles of this CPU.
 *
 *     make bench   (or: benchmarks/words)
 *
 * The clock is measured beside them, by a chain of dependent additions. The bound counts vector instructions per vector
 * pair (LANES/2 blocks) in philox_blocks of philox.h and divides by the vector ports: four pipes on Zen 5; on Intel
 * three for 256 bits and two for 512. Loads and stores have ports of their own. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fastinit.h"

/* AVX-512: rounds 0 and 1 take 2 multiplications, a shuffle, 2 xors, a blend, a shuffle and the counter's addition;
 * each of the other 8 rounds a shift, 2 multiplications, 2 masked shuffles, a three-way xor; 2 unpacks order the words.
 * AVX2: the same, but 2 xors for the three-way one, the lower halves by a multiplication, and a last shuffle. */
#define AVX512_COUNT (8 + 8 * 6 + 2)
#define AVX2_COUNT (8 + 8 * 7 + 1 + 2)
enum { WORDS = 1 << 13, CALLS = 4000 }; /* 32 KiB: in L1 or L2 */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
static double clock_hz(void) {
    long x = 0, n = 20000000;
    double start = seconds();
    for (long i = 0; i < n; i++)
        __asm__ volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0" : "+r"(x));
    return 4.0 * (double)n / (seconds() - start);
}

int main(void) {
    static uint32_t out[WORDS];
    const int amd = __builtin_cpu_is("amd");
    for (int i = 0; fi_isas_compiled[i]; i++) {
        const fi_isa *isa = fi_isas_compiled[i];
        const int wide = !strcmp(isa->name, "avx512"), lanes = wide ? 16 : 8;
        if ((!wide && strcmp(isa->name, "avx2")) || !fi_isa_runs(isa))
            continue;
        const double count = wide ? AVX512_COUNT : AVX2_COUNT, ports = amd ? 4 : wide ? 2 : 3, bound = count / ports;
        double cycles = 1e9;
        for (int round = 0; round < 15; round++) {
            const double hz = clock_hz(), start = seconds();
            for (uint64_t call = 0; call < CALLS; call++)
                isa->words(out, WORDS, 1, call * WORDS / 4, 2);
            const double taken = (seconds() - start) * hz / ((double)CALLS * WORDS / (2 * lanes));
            cycles = taken < cycles ? taken : cycles;
        }
        printf("raw words, %-7s %5.1f cycles for %d bytes; %.0f vector instructions on %.0f ports: %.1f; %.2f of the "
               "bound\n",
               isa->name, cycles, 8 * lanes, count, ports, bound, bound / cycles);
    }
    return 0;
}

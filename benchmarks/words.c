/* words.c - raw words of one thread against what the vector ports allow, in cycles of this CPU.
 *
 *     make bench   (or: benchmarks/words)
 *
 * The clock is measured beside them, by a chain of dependent additions. The bound counts vector instructions per vector
 * pair (LANES/2 blocks) in philox_blocks of philox.h and divides by how many of them the CPU starts in a cycle. Loads
 * and stores have ports of their own. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "fastinit.h"

/* AVX-512: rounds 0 and 1 take 2 multiplications, a shuffle, 2 xors, a blend, a shuffle and the counter's addition;
 * each of the other 8 rounds a shift, 2 multiplications, 2 masked shuffles, a three-way xor; 2 unpacks order the words.
 * AVX2: the same, but 2 xors for the three-way one, the lower halves by a multiplication, and a last shuffle. */
#define AVX512_COUNT (8 + 8 * 6 + 2)
#define AVX2_COUNT (8 + 8 * 7 + 1 + 2)
enum { WORDS = 1 << 13, CALLS = 4000 }; /* 32 KiB: in L1 or L2 */

/* The family that CPUID gives: 19h are AMD's Zen 3 and 4, 1Ah is Zen 5. */
static unsigned family(void) {
    unsigned a, b, c, d;
    __get_cpuid(1, &a, &b, &c, &d);
    return (a >> 8 & 15) + (a >> 20 & 255);
}

/* Vector instructions a cycle, and for which CPUs that is true (Agner Fog, The microarchitecture of Intel, AMD and VIA
 * CPUs). Intel joins two of three ports for 512 bits; Zen 4 does 512 bits as two halves. */
typedef struct {
    double ports;
    const char *of;
} width;
static width width_of(int wide) {
    if (__builtin_cpu_is("intel"))
        return wide ? (width){2, "Intel, 512 bits"} : (width){3, "Intel, 256 bits"};
    if (__builtin_cpu_is("amd")) {
        if (!wide)
            return (width){4, "AMD Zen, 256 bits"};
        return family() < 0x1A ? (width){2, "AMD Zen 4: 512 bits in two halves"}
                               : (width){4, "AMD Zen 5, server parts"};
    }
    return (width){wide ? 2 : 3, "unknown CPU: Intel's assumed"};
}

int main(void) {
    static uint32_t out[WORDS];
    for (int i = 0; fi_isas_compiled[i]; i++) {
        const fi_isa *isa = fi_isas_compiled[i];
        const int wide = !strcmp(isa->name, "avx512"), lanes = wide ? 16 : 8;
        if ((!wide && strcmp(isa->name, "avx2")) || !fi_isa_runs(isa))
            continue;
        const width w = width_of(wide);
        const double count = wide ? AVX512_COUNT : AVX2_COUNT, bound = count / w.ports;
        /* each at its best: another process would slow either, and so raise or lower their product */
        double hz = 0, fastest = 1e9;
        for (int round = 0; round < 15; round++) {
            const double hz_now = clock_hz(20000000), start = seconds();
            for (uint64_t call = 0; call < CALLS; call++)
                isa->words(out, WORDS, 1, call * WORDS / 4, 2);
            const double taken = (seconds() - start) / ((double)CALLS * WORDS / (2 * lanes));
            hz = hz_now > hz ? hz_now : hz;
            fastest = taken < fastest ? taken : fastest;
        }
        const double cycles = fastest * hz;
        printf(
            "raw words, %-7s %5.1f cycles for %d bytes; %.0f vector instructions, %.0f a cycle (%s): %.1f; %.2f of the "
            "bound\n",
            isa->name, cycles, 8 * lanes, count, w.ports, w.of, bound, bound / cycles);
    }
    return 0;
}

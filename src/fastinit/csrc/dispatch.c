/* dispatch.c - which instruction sets are compiled in, and which of them this CPU runs. */
#include "fastinit.h"

#ifdef FI_HAVE_AVX2
#include <cpuid.h>
#endif

const fi_isa *const fi_isas_compiled[] = {
#ifdef FI_HAVE_AVX512
    &fi_isa_avx512,
#endif
#ifdef FI_HAVE_AVX2
    &fi_isa_avx2,
#endif
#ifdef FI_HAVE_NEON
    &fi_isa_neon,
#endif
    &fi_isa_base,   NULL,
};

int fi_isa_runs(const fi_isa *isa) {
#ifdef FI_HAVE_AVX512
    if (isa == &fi_isa_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#ifdef FI_HAVE_AVX2
    if (isa == &fi_isa_avx2) {
        unsigned a, b, c, d;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
               (c & bit_F16C);
    }
#endif
    return isa != NULL;
}

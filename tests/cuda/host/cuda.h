/* tests/cuda_host/cuda.h - what the compiler for GPUs knows by itself, for a compiler for this CPU: the kernels of
 * src/fastinit/csrc then run here, unchanged. Every operation is one IEEE operation, as on the GPU. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define __device__
#define __global__
#define __forceinline__ inline __attribute__((unused))
#define __grid_constant__
#define __launch_bounds__(threads)
#define __shared__ static /* blocks run one after the other */

struct uint2 {
    uint32_t x, y;
} __attribute__((aligned(8)));
struct uint4 {
    uint32_t x, y, z, w;
} __attribute__((aligned(16)));
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

struct dim3 {
    unsigned x;
};
static thread_local dim3 gridDim, blockDim, blockIdx, threadIdx;
void __syncthreads(); /* launch.cpp */

template <class To, class From> static inline To same_bits(From x) {
    To y;
    static_assert(sizeof x == sizeof y, "as many bits");
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline float __uint_as_float(uint32_t x) { return same_bits<float>(x); }
static inline uint32_t __float_as_uint(float x) { return same_bits<uint32_t>(x); }
static inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }

static inline float __int2float_rn(int x) { return (float)x; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __ull2double_rn(unsigned long long x) { return (double)x; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return sqrt(a); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __double2float_rn(double a) { return (float)a; }

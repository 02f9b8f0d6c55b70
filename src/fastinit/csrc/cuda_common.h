/* cuda_common.h - what several kernels of CUDA devices need. After lanes_cuda.h. */
#define UNROLL _Pragma("unroll")

LANE uint64_t thread_number(void) { return blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; }
LANE uint64_t all_threads(void) { return gridDim.x * (uint64_t)blockDim.x; }

/* Divides *left by n; returns the remainder. 64-bit divisions take several times as long. */
LANE uint64_t divide(uint64_t *left, uint64_t n) {
    const uint64_t from = *left;
    if ((from | n) >> 32 == 0) {
        *left = (uint32_t)from / (uint32_t)n;
        return (uint32_t)from % (uint32_t)n;
    }
    *left = from / n;
    return from % n;
}

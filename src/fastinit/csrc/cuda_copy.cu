/* cuda_copy.cu - moves bytes that are given, on CUDA devices: what composed tensors have besides drawn values. */
#include <stdint.h>

#include "values.h"

enum { THREADS = 256, FEW = 480 };

/* So many bytes that they can go with the launch itself: no memory of the host has to last until they are there. */
typedef struct {
    uint64_t words[FEW];
} fi_few;

/* An axis: element j is read `from_step * j`, or `from_table[j]`, bytes from element 0, and written likewise. */
typedef struct {
    int64_t count;
    int64_t from_step, to_step;
    const int64_t *from_table, *to_table; /* NULL, or `count` byte offsets */
} fi_copy_axis;

/* Elements of 2, 4 or 8 bytes from one region of memory to another. */
typedef struct {
    const char *from;
    char *to;
    int32_t size, naxes;
    fi_copy_axis axes[FI_MAX_AXES];
} fi_copy;

static_assert(sizeof(fi_copy) == COPY_BYTES, "the host lays the struct out otherwise");

extern "C" __global__ void __launch_bounds__(THREADS)
    upload(const __grid_constant__ fi_few few, uint64_t count, uint64_t *to) {
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (uint64_t)blockDim.x)
        to[i] = few.words[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) copy(const __grid_constant__ fi_copy c, uint64_t elements) {
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < elements;
         i += gridDim.x * (uint64_t)blockDim.x) {
        const char *from = c.from;
        char *to = c.to;
        uint64_t left = i;
        for (int a = c.naxes - 1; a >= 0; a--) {
            const fi_copy_axis *axis = &c.axes[a];
            const int64_t at = (int64_t)(left % (uint64_t)axis->count);
            left /= (uint64_t)axis->count;
            from += axis->from_table ? axis->from_table[at] : axis->from_step * at;
            to += axis->to_table ? axis->to_table[at] : axis->to_step * at;
        }
        if (c.size == 8)
            *(uint64_t *)to = *(const uint64_t *)from;
        else if (c.size == 4)
            *(uint32_t *)to = *(const uint32_t *)from;
        else
            *(uint16_t *)to = *(const uint16_t *)from;
    }
}

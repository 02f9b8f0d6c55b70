/* tests/cuda_host/launch.cpp - a file of kernels (SOURCE) and what launches them: loops over blocks and threads. */
#include "cuda.h"
#include <type_traits>
#include <utility>

#include SOURCE

template <class... Arguments, size_t... I>
static void run(void (*kernel)(Arguments...), unsigned blocks, unsigned threads, void **arguments,
                std::index_sequence<I...>) {
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            kernel(*(typename std::remove_const<Arguments>::type *)arguments[I]...);
}

/* Calls the kernel of that name; 1 if there is none. */
extern "C" int launch(const char *name, unsigned blocks, unsigned threads, void **arguments) {
#define KERNEL(kernel)                                                                                                 \
    if (!strcmp(name, #kernel)) {                                                                                      \
        [&]<class... A>(void (*f)(A...)) {                                                                             \
            run(f, blocks, threads, arguments, std::index_sequence_for<A...>());                                       \
        }(kernel);                                                                                                     \
        return 0;                                                                                                      \
    }
    KERNELS
    return 1;
}

#ifdef DISTRIBUTION
/* What plans of 2^32 units and more need, which no test has the memory for. */
extern "C" uint64_t divided(uint64_t left, uint64_t n, uint64_t *remainder) {
    *remainder = divide(&left, n);
    return left;
}
#endif

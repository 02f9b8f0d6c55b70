/* tests/cuda_host/launch.cpp - a file of kernels (SOURCE) and what launches them: loops over blocks and threads. */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <type_traits>
#include <utility>

#include SOURCE

#ifdef BARRIERS
/* The threads of a block each have a stack, and run one at a time as far as their next barrier, now in ascending, now
 * in descending order: what a barrier is missing for is read too early, or overwritten too early. */
#include <functional>
#include <ucontext.h>
#include <vector>

static const size_t STACK = 64 * 1024;
static ucontext_t scheduler;
static std::vector<ucontext_t> contexts;
static std::vector<char> stacks, is_done;
static std::function<void()> body;

static void thread_main() {
    body();
    is_done[threadIdx.x] = 1;
    swapcontext(&contexts[threadIdx.x], &scheduler);
}
void __syncthreads() { swapcontext(&contexts[threadIdx.x], &scheduler); }

static void run_block(unsigned threads) {
    contexts.resize(threads);
    is_done.assign(threads, 0);
    stacks.resize(threads * STACK);
    for (unsigned t = 0; t < threads; t++) {
        getcontext(&contexts[t]);
        contexts[t].uc_stack = {.ss_sp = &stacks[t * STACK], .ss_flags = 0, .ss_size = STACK};
        contexts[t].uc_link = nullptr;
        makecontext(&contexts[t], thread_main, 0);
    }
    unsigned left = threads;
    for (int descending = 0; left; descending ^= 1) {
        left = 0;
        for (unsigned t = 0; t < threads; t++) {
            threadIdx.x = descending ? threads - 1 - t : t;
            if (!is_done[threadIdx.x]) {
                swapcontext(&scheduler, &contexts[threadIdx.x]);
                left += !is_done[threadIdx.x];
            }
        }
        /* a device waits for ever where some threads have left and others wait */
        if (left && left != threads) {
            fputs("threads of a block wait at different barriers\n", stderr);
            abort();
        }
    }
}
#endif

template <class... Arguments, size_t... I>
static void run(void (*kernel)(Arguments...), unsigned blocks, unsigned threads, void **arguments,
                std::index_sequence<I...>) {
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
        const auto call = [&] { kernel(*(typename std::remove_const<Arguments>::type *)arguments[I]...); };
#ifdef BARRIERS
        body = call;
        run_block(threads);
#else
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            call();
#endif
    }
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

/* cuda.cu - the kernels of CUDA devices: the same values as template.h's, in the same functions, a thread for each
 * 16 bytes of output.
 *
 * Compiled once for each pair of these parameters, by NVRTC when one is first needed (fastinit/cuda/compiling.py):
 *   DTYPE          FI_FLOAT32, FI_FLOAT64, FI_FLOAT16 or FI_BFLOAT16
 *   DISTRIBUTION   FI_CONSTANT, FI_UNIFORM, FI_NORMAL or FI_TRUNCATED
 *   VALUES_BYTES, PLAN_BYTES   sizeof the two structs where their bytes are made, which must be the same here
 * tests/cuda_host compiles this file for the CPU. */
#if !defined(DTYPE) || !defined(DISTRIBUTION)
#error "define DTYPE and DISTRIBUTION"
#endif
#include "lanes_cuda.h"
#include "cuda_common.h"
#include "values.h"

#include "coefficients.h"

static_assert(sizeof(fi_values) == VALUES_BYTES && sizeof(fi_plan) == PLAN_BYTES,
              "the host lays structs out otherwise");

#define FN(name) name
#define __builtin_prefetch(...) /* philox.h's CPU kernels use it; here there are none */

#include "philox.h"
static_assert(BLOCKS == 1 && PHILOX_LANE(0) == 0, "a vector pair is one block, in the one 64-bit lane");
#include "log.h"
#include "sincos.h"
#include "inverse_normal.h"
#include "transforms.h"

/* The order of these constants is that of fi_dtype and fi_distribution, which the preprocessor cannot read. */
enum {
    SIZE = DTYPE == FI_FLOAT64   ? 8
           : DTYPE == FI_FLOAT32 ? 4
                                 : 2, /* of an element, in bytes */
    UNIT = 16 / SIZE,                 /* elements that a thread makes at a time */
    UNIT_BLOCKS = SIZE == 2 ? 2 : 1,  /* blocks of words that these need */
    THREADS = 256,                    /* of a block */
    IN_FLIGHT = 2 / UNIT_BLOCKS,      /* units of a thread at once: two blocks of words, which was best on an H200 (a
                                         sketch's figures) */
};

/* Words of consecutive blocks. */
LANE void words_of(uint32_t *words, const fi_values *values, uint64_t first) {
    uint64_t blocks[UNIT_BLOCKS];
    UNROLL
    for (int i = 0; i < UNIT_BLOCKS; i++)
        blocks[i] = first + i;
    philox_list(words, UNIT_BLOCKS, values->key, values->stream, blocks);
}

/* The elements that a block's words stand for. */
LANE void transform(const uint32_t *words, const fi_values *values, char *out) {
    if (DTYPE == FI_FLOAT64) {
        if (DISTRIBUTION == FI_UNIFORM)
            uniform_as_f64(words, 1, values, out);
        else if (DISTRIBUTION == FI_NORMAL)
            normal_as_f64(words, 1, values, out);
        else
            truncated_as_f64(words, 1, values, out);
    } else {
        if (DISTRIBUTION == FI_UNIFORM && values->hold)
            uniform_as(words, 1, values, out, DTYPE, 1);
        else if (DISTRIBUTION == FI_UNIFORM)
            uniform_as(words, 1, values, out, DTYPE, 0);
        else if (DISTRIBUTION == FI_NORMAL)
            normal_as(words, 1, values, out, DTYPE);
        else
            truncated_as(words, 1, values, out, DTYPE);
    }
}

/* Elements unit * UNIT .. + UNIT - 1 of the tensor. */
LANE uint4 elements_of(const fi_values *values, uint64_t unit) {
    uint4 line;
    char *out = (char *)&line;
    if (DISTRIBUTION == FI_CONSTANT) {
        const uint64_t p = values->pattern;
        const uint32_t low = SIZE == 2 ? (uint32_t)p | (uint32_t)p << 16 : (uint32_t)p;
        const uint32_t high = SIZE == 8 ? (uint32_t)(p >> 32) : low;
        return make_uint4(low, high, low, high);
    }
    uint32_t words[UNIT_BLOCKS * PAIR];
    words_of(words, values, unit * UNIT_BLOCKS);
    UNROLL
    for (int i = 0; i < UNIT_BLOCKS; i++)
        transform(words + i * PAIR, values, out + i * (16 / UNIT_BLOCKS));
    return line;
}

/* Elements low .. high - 1 of a unit to memory where element e has its place at out + e * step. */
LANE void put(uint4 line, char *out, int64_t step, int low, int high) {
    if (step == SIZE && low == 0 && high == UNIT && ((size_t)out & 15) == 0) {
        *(uint4 *)out = line;
        return;
    }
    const char *elements = (const char *)&line;
    UNROLL
    for (int e = 0; e < UNIT; e++)
        if (low <= e && e < high) {
            if (SIZE == 8)
                *(uint64_t *)(out + e * step) = *(const uint64_t *)(elements + 8 * e);
            else if (SIZE == 4)
                *(uint32_t *)(out + e * step) = *(const uint32_t *)(elements + 4 * e);
            else
                *(uint16_t *)(out + e * step) = *(const uint16_t *)(elements + 2 * e);
        }
}

/* Elements first .. first + count - 1 of the tensor into contiguous memory, aligned to the element. */
extern "C" __global__ void __launch_bounds__(THREADS)
    fill_run(const __grid_constant__ fi_values values, uint64_t first, uint64_t count, char *out) {
    const uint64_t skip = first % UNIT, end = skip + count, units = (end + UNIT - 1) / UNIT;
    const uint64_t stride = all_threads();
    out -= skip * SIZE; /* where the first unit begins */
    for (uint64_t u = thread_number(); u < units; u += IN_FLIGHT * stride) {
        uint4 lines[IN_FLIGHT];
        UNROLL
        for (int i = 0; i < IN_FLIGHT; i++)
            lines[i] = elements_of(&values, first / UNIT + u + i * stride);
        UNROLL
        for (int i = 0; i < IN_FLIGHT; i++) {
            const uint64_t unit = u + i * stride;
            if (unit < units)
                put(lines[i], out + unit * 16, SIZE, unit == 0 ? (int)skip : 0,
                    unit == units - 1 ? (int)(end - unit * UNIT) : UNIT);
        }
    }
}

/* Any plan. Along axis `run`, flat indices are neighbours: it is cut into `run_units` units, which begin at multiples
 * of UNIT, so that the first and the last of them may be partly or wholly outside. -1: there is no such axis, and a
 * thread makes one element. Threads go along memory. */
extern "C" __global__ void __launch_bounds__(THREADS)
    fill_plan(const __grid_constant__ fi_values values, const __grid_constant__ fi_plan plan, uint64_t units, int run,
              uint64_t run_units) {
    const int64_t count = run < 0 ? 1 : plan.axes[run].count;
    const int64_t step = run < 0 ? 0 : plan.axes[run].byte_step;
    for (uint64_t u = thread_number(); u < units; u += all_threads()) {
        uint64_t left = u, index = plan.first_index, run_unit = 0;
        char *out = plan.out;
        for (int a = plan.naxes - 1; a >= 0; a--) {
            const fi_axis *axis = &plan.axes[a];
            const uint64_t at = divide(&left, a == run ? run_units : (uint64_t)axis->count);
            if (a == run) {
                run_unit = at;
            } else {
                index += (uint64_t)axis->index_step * (uint64_t)(axis->table ? axis->table[at] : (int64_t)at);
                out += (int64_t)at * axis->byte_step;
            }
        }
        const int64_t skip = (int64_t)(index % UNIT), begin = (int64_t)run_unit * UNIT - skip, left_of = count - begin;
        if (left_of > 0)
            put(elements_of(&values, index / UNIT + run_unit), out + begin * step, step, run_unit ? 0 : (int)skip,
                left_of < UNIT ? (int)left_of : UNIT);
    }
}

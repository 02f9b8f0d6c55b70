/* template.h - the kernels of one instruction set.
 *
 * Opened by isa_*.c, once per file, with these parameters:
 *   ISA                 the name, which becomes the suffix of every function: base, avx2, avx512, neon
 *   lanes_<ISA>.h       included before: the lane operations and LANES, GROUPS, ... (see lanes.md)
 * It defines one object with external linkage, fi_isa_<ISA>. Everything else is static, so that
 * no function compiled for a newer CPU can be linked into code for an older one. */
#ifndef ISA
#error "define ISA and include its lanes_*.h first"
#endif
#include <stdlib.h>
#include <string.h>

#include "coefficients.h"
#include "fastinit.h"
#include "placing.h"

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define FN(name) JOIN(name, ISA)
#define NAME2(x) #x
#define NAME(x) NAME2(x)
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#include "philox.h"
#include "log.h"
#include "sincos.h"
#include "inverse_normal.h"
#include "transforms.h"

#define TILE_VECTORS 3
#define REAL float
#define VECTOR f32v
#define WIDTH LANES
#define OP(name) f32_##name
#define SUFFIX f32
#include "product.h"
#undef REAL
#undef VECTOR
#undef WIDTH
#undef OP
#undef SUFFIX
#define REAL double
#define VECTOR f64v
#define WIDTH (LANES / 2)
#define OP(name) f64_##name
#define SUFFIX f64
#include "product.h"

/* Words in flight: 8 KiB, so that they and the lines being written stay in L1. */
#define BUFFER_PAIRS (2048 / PAIR / GROUPS * GROUPS)
#define BUFFER_WORDS ((BUFFER_PAIRS + GROUPS) * PAIR)

static void FN(transform)(const uint32_t *words, size_t pairs, const fi_values *values, char *out) {
    const int hold = values->hold;
    switch (values->dtype << 2 | values->distribution) {
#define CASES(dtype)                                                                                                   \
    case dtype << 2 | FI_UNIFORM:                                                                                      \
        if (hold)                                                                                                      \
            uniform_as(words, pairs, values, out, dtype, 1);                                                           \
        else                                                                                                           \
            uniform_as(words, pairs, values, out, dtype, 0);                                                           \
        break;                                                                                                         \
    case dtype << 2 | FI_NORMAL: normal_as(words, pairs, values, out, dtype); break;                                   \
    case dtype << 2 | FI_TRUNCATED: truncated_as(words, pairs, values, out, dtype); break;
        CASES(FI_FLOAT32)
        CASES(FI_FLOAT16)
        CASES(FI_BFLOAT16)
#undef CASES
    case FI_FLOAT64 << 2 | FI_UNIFORM: uniform_as_f64(words, pairs, values, out); break;
    case FI_FLOAT64 << 2 | FI_NORMAL: normal_as_f64(words, pairs, values, out); break;
    case FI_FLOAT64 << 2 | FI_TRUNCATED: truncated_as_f64(words, pairs, values, out); break;
    default: break;
    }
}

/* Consecutive blocks into a buffer, whatever they straddle. */
static void FN(generate)(uint32_t *buffer, size_t pairs, const fi_values *values, uint64_t block, const char *ahead,
                         size_t bytes) {
    while (pairs) {
        /* one vector pair may straddle a change of c1: those few blocks are listed one by one */
        const uint64_t room = (UINT64_C(1) << 32) - (block & 0xFFFFFFFF);
        size_t run = room / BLOCKS < pairs ? (size_t)(room / BLOCKS) : pairs;
        if (run) {
            if (ahead)
                FN(philox_run_ahead)(buffer, run, values->key, values->stream, block, ahead, bytes);
            else
                FN(philox_run)(buffer, run, values->key, values->stream, block);
        } else {
            uint64_t blocks[GROUPS * BLOCKS];
            for (unsigned slot = 0; slot < GROUPS * BLOCKS; slot++)
                blocks[slot] = block + slot;
            FN(philox_list)(buffer, run = 1, values->key, values->stream, blocks);
        }
        buffer += run * PAIR;
        ahead = ahead ? ahead + run * bytes : NULL;
        block += run * BLOCKS;
        pairs -= run;
    }
}

static void FN(fill_constant)(const fi_values *values, size_t count, char *out) {
    const size_t size = fi_item_size(values->dtype);
    char line[64];
    for (size_t i = 0; i < 64 / size; i++) {
        /* by value, not through memory: the low bytes of `pattern` are the element on any CPU */
        const uint16_t u16 = (uint16_t)values->pattern;
        const uint32_t u32 = (uint32_t)values->pattern;
        memcpy(line + i * size,
               size == 2   ? (const void *)&u16
               : size == 4 ? (const void *)&u32
                           : &values->pattern,
               size);
    }
    size_t bytes = count * size;
    for (; bytes >= 64; bytes -= 64, out += 64)
        memcpy(out, line, 64);
    memcpy(out, line, bytes);
}

static void FN(fill)(const fi_values *values, uint64_t first, size_t count, void *destination) {
    char *out = destination;
    if (values->distribution == FI_CONSTANT) {
        FN(fill_constant)(values, count, out);
        return;
    }
    const size_t size = fi_item_size(values->dtype);
    const size_t per_block = fi_per_block(values->dtype);
    const size_t per_pair = per_block * BLOCKS;
    uint32_t words[BUFFER_WORDS] __attribute__((aligned(64)));
    char partial[PAIR * 4] __attribute__((aligned(64))); /* one vector pair of elements */

    uint64_t block = first / per_block;
    size_t skip = (size_t)(first % per_block);
    while (count) {
        size_t wanted = (skip + count + per_pair - 1) / per_pair;
        size_t pairs = wanted < BUFFER_PAIRS ? wanted : BUFFER_PAIRS;
        /* Uniforms are stored faster than memory takes them; for the others fetching ahead gains nothing (measured on
         * Zen 5: uniform 1.2 to 1.3 times as fast, normal 0.97). Non-temporal stores: 1.06 and 0.9. */
        FN(generate)(words, pairs, values, block, values->distribution == FI_UNIFORM ? out : NULL, per_pair * size);
        block += pairs * BLOCKS;
        const uint32_t *next = words;
        if (skip) { /* the first vector pair begins before `first` */
            size_t n = per_pair - skip < count ? per_pair - skip : count;
            FN(transform)(next, 1, values, partial);
            memcpy(out, partial + skip * size, n * size);
            out += n * size;
            count -= n;
            next += PAIR;
            pairs--;
            skip = 0;
        }
        size_t whole = count / per_pair < pairs ? count / per_pair : pairs;
        if (whole) {
            FN(transform)(next, whole, values, out);
            out += whole * per_pair * size;
            count -= whole * per_pair;
            next += whole * PAIR;
        }
        if (whole < pairs) { /* the last vector pair ends behind the last element */
            FN(transform)(next, 1, values, partial);
            memcpy(out, partial, count * size);
            count = 0;
        }
    }
}

static void FN(list)(const fi_values *values, const fi_blocks *runs, size_t count, void *out, int ahead) {
    uint64_t blocks[FI_LIST + BLOCKS], ramp[BLOCKS]; /* a vector is written whole, and the next run over its end */
    for (unsigned slot = 0; slot < BLOCKS; slot++)
        ramp[slot] = slot;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].count == 1) {
            blocks[used++] = runs[i].first;
            continue;
        }
        u64v next = u64_add(u64_set(runs[i].first), u64_load(ramp));
        for (size_t n = 0; n < runs[i].count; n += BLOCKS) {
            u64_store(blocks + used + n, next);
            next = u64_add(next, u64_set(BLOCKS));
        }
        used += runs[i].count;
    }
    if (values->distribution == FI_CONSTANT) {
        FN(fill_constant)(values, used * fi_per_block(values->dtype), out);
        return;
    }
    const size_t pairs = (used + BLOCKS - 1) / BLOCKS;
    const size_t pair_bytes = fi_per_block(values->dtype) * BLOCKS * fi_item_size(values->dtype);
    for (; used % (GROUPS * BLOCKS); used++) /* nobody listed these */
        blocks[used] = 0;
    uint32_t words[FI_LIST * 4] __attribute__((aligned(64)));
    if (ahead)
        FN(philox_list_ahead)(words, pairs, values->key, values->stream, blocks, out, pair_bytes);
    else
        FN(philox_list)(words, pairs, values->key, values->stream, blocks);
    FN(transform)(words, pairs, values, out);
}

static void FN(words)(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high) {
    fi_values values = {.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                        .stream = {(uint32_t)high, (uint32_t)(high >> 32)}};
    uint32_t buffer[2 * GROUPS * PAIR] __attribute__((aligned(64))), ordered[GROUPS * PAIR];
    while (count) {
        const uint64_t room = (UINT64_C(1) << 32) - (low & 0xFFFFFFFF);
        size_t pairs = (room / BLOCKS < count / PAIR ? (size_t)(room / BLOCKS) : count / PAIR) / GROUPS * GROUPS;
        size_t n = pairs * PAIR;
        if (pairs) {
            FN(philox_run_in_order)(out, pairs, values.key, values.stream, low);
        } else { /* the end, or next to a change of c1 */
            pairs = (count + PAIR - 1) / PAIR < GROUPS ? (count + PAIR - 1) / PAIR : GROUPS;
            n = count < pairs * PAIR ? count : pairs * PAIR;
            FN(generate)(buffer, pairs, &values, low, NULL, 0);
            for (size_t at = 0; at < pairs * PAIR; at += PAIR)
                u32_store_pairs(ordered + at, u32_load(buffer + at), u32_load(buffer + at + LANES));
            memcpy(out, ordered, n * 4);
        }
        low += pairs * BLOCKS;
        out += n;
        count -= n;
    }
}

#include "apart.h"

/* Given words instead of the stream's, for proofs over all of them. */
static void FN(convert)(const fi_values *values, const uint32_t *words, size_t blocks, void *destination) {
    char *out = destination;
    const size_t block_size = fi_per_block(values->dtype) * fi_item_size(values->dtype);
    uint32_t pair[PAIR] __attribute__((aligned(64))) = {0};
    char elements[PAIR * 4] __attribute__((aligned(64)));
    while (blocks) {
        const size_t n = blocks < BLOCKS ? blocks : BLOCKS;
        for (size_t slot = 0; slot < n; slot++)
            for (int k = 0; k < 4; k++)
                pair[(k & 1) * LANES + 2 * PHILOX_LANE(slot) + k / 2] = words[4 * slot + (size_t)k];
        FN(transform)(pair, 1, values, elements);
        memcpy(out, elements, n * block_size);
        words += 4 * n;
        out += n * block_size;
        blocks -= n;
    }
}

static size_t FN(multiply)(const fi_product *p, char *scratch) {
    if (p->dtype == FI_FLOAT64)
        return FN(multiply_f64)(p, scratch);
    else
        return FN(multiply_f32)(p, scratch);
}

const fi_isa FN(fi_isa) = {NAME(ISA),       FN(fill),  FN(fill_apart), FN(list),     FN(transpose),
                           FN(end_streams), FN(words), FN(convert),    FN(multiply), TERMS};

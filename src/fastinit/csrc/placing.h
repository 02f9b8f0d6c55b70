/* placing.h - puts elements that were made in a buffer where memory has them. */
#ifndef FASTINIT_PLACING_H
#define FASTINIT_PLACING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Elements, or short runs of them, with a byte step between them to where there is another. One loop for each of the
 * usual sizes, which memcpy then knows. */
#define COPY(size, to_step, from_step)                                                                                 \
    for (int64_t i = 0; i < count; i++)                                                                                \
    memcpy(to + i * (to_step), from + i * (from_step), size)
static inline void copy_elements(char *to, int64_t to_step, const char *from, int64_t from_step, size_t size, int64_t count) {
    if (size == 4)
        COPY(4, to_step, from_step);
    else if (size == 2)
        COPY(2, to_step, from_step);
    else if (size == 8)
        COPY(8, to_step, from_step);
    else if (size == 16)
        COPY(16, to_step, from_step);
    else
        COPY(size, to_step, from_step);
}

/* The same from one run of elements: unrolled, and with steps that are known where they are common, 1.2 times as fast.
 */
static inline void spread_elements(char *to, int64_t to_step, const char *from, size_t size, int64_t count) {
    if (size == 4 && to_step == -4)
        _Pragma("GCC unroll 8") COPY(4, -4, 4);
    else if (size == 4 && to_step == 8)
        _Pragma("GCC unroll 8") COPY(4, 8, 4);
    else if (size == 4)
        COPY(4, to_step, 4);
    else if (size == 2 && to_step == -2)
        _Pragma("GCC unroll 8") COPY(2, -2, 2);
    else if (size == 2)
        COPY(2, to_step, 2);
    else
        COPY(8, to_step, 8);
}
#undef COPY

typedef uint32_t vector_of_four __attribute__((vector_size(16)));
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (vector_of_four){__VA_ARGS__})
#endif

/* Four by four elements of four bytes: rows `from_step` bytes apart become columns, in rows `to_step` bytes apart. */
static inline __attribute__((unused)) void transpose_4x4(char *to, int64_t to_step, const char *const from[4], int64_t at) {
    vector_of_four a, b, c, d;
    memcpy(&a, from[0] + at, 16);
    memcpy(&b, from[1] + at, 16);
    memcpy(&c, from[2] + at, 16);
    memcpy(&d, from[3] + at, 16);
    const vector_of_four ab = PICK(a, b, 0, 4, 1, 5), cd = PICK(c, d, 0, 4, 1, 5);
    const vector_of_four ab_high = PICK(a, b, 2, 6, 3, 7), cd_high = PICK(c, d, 2, 6, 3, 7);
    a = PICK(ab, cd, 0, 1, 4, 5);
    b = PICK(ab, cd, 2, 3, 6, 7);
    c = PICK(ab_high, cd_high, 0, 1, 4, 5);
    d = PICK(ab_high, cd_high, 2, 3, 6, 7);
    memcpy(to, &a, 16);
    memcpy(to + to_step, &b, 16);
    memcpy(to + 2 * to_step, &c, 16);
    memcpy(to + 3 * to_step, &d, 16);
}

#endif

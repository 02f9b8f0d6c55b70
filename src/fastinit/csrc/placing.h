/* placing.h - puts elements that were made in a buffer where memory has them. */
#ifndef FASTINIT_PLACING_H
#define FASTINIT_PLACING_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Memory finds the lines that `count` places `step` bytes apart lie in, while the caller does something else. */
static inline void fetch_lines(const char *at, int64_t count, int64_t step) {
    const int64_t apart = llabs(step), bytes = count * apart;
    if (step < 0)
        at += (count - 1) * step;
    for (int64_t line = 0; line < bytes; line += apart > 64 ? apart : 64)
        __builtin_prefetch(at + line, 1);
}

/* Elements, or short runs of them, with a byte step between them to where there is another. One loop for each of the
 * usual sizes, which memcpy then knows. */
#define COPY(size, to_step, from_step)                                                                                 \
    for (int64_t i = 0; i < count; i++)                                                                                \
    memcpy(to + i * (to_step), from + i * (from_step), size)
static inline void copy_elements(char *to, int64_t to_step, const char *from, int64_t from_step, size_t size,
                                 int64_t count) {
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

/* The same from one run of elements: unrolled, and with steps that are known where they are common. */
static inline void spread_elements(char *to, int64_t to_step, const char *from, size_t size, int64_t count) {
    if (size == 4)
        _Pragma("GCC unroll 8") COPY(4, to_step, 4);
    else if (size == 2 && to_step == -2)
        _Pragma("GCC unroll 8") COPY(2, -2, 2);
    else if (size == 2 && to_step == 4)
        _Pragma("GCC unroll 8") COPY(2, 4, 2);
    else if (size == 2)
        _Pragma("GCC unroll 8") COPY(2, to_step, 2);
    else if (to_step == -8)
        _Pragma("GCC unroll 8") COPY(8, -8, 8);
    else
        _Pragma("GCC unroll 8") COPY(8, to_step, 8);
}
#undef COPY

/* Columns from rows: element c of from[r] to to + c step + r size. */
#define COLUMNS(size)                                                                                                  \
    for (int64_t c = 0; c < columns; c++)                                                                              \
        for (int64_t r = 0; r < rows; r++)                                                                             \
    memcpy(to + c * step + r * (size), from[r] + c * (size), size)
static inline void copy_columns(char *to, int64_t step, const char *const *from, int64_t rows, int64_t columns,
                                size_t size) {
    if (size == 4)
        COLUMNS(4);
    else if (size == 2)
        COLUMNS(2);
    else
        COLUMNS(8);
}
#undef COLUMNS

#endif

/* layouts.c - the same elements in memory that is not one run, by every way that the kernels have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"
#include "layouts.h"

/* A matrix whose element (r, c) is at r * row_step + c * column_step elements; `gathered`: every third row of another.
 */
static const struct {
    int64_t rows, columns, row_step, column_step;
    int gathered;
} LAYOUTS[] = {
    {1, 3001, 0, -1, 0},   {1, 3001, 0, 2, 0},    {1, 3001, 0, -3, 0}, {71, 100, 128, 1, 0},
    {301, 3, 7, 1, 0},     {71, 64, 64, 1, 1},    {71, 50, 50, 1, 1},  {71, 30, 61, 2, 1},
    {130, 140, 1, 144, 0}, {130, 141, 1, 131, 0}, {70, 40, -1, 80, 0}, {3, 700, 1, 3, 0},
    {130, 140, 1, 144, 1}, {70, 75, 3, 300, 0},   {2, 9, 1, 2, 0},     {900, 2, 2, -2000, 0},
};

static const double PARAMETERS[4] = {-1, 1, 0, 0};

static int is_right(const fi_isa *isa, fi_dtype dtype, size_t which) {
    const int64_t rows = LAYOUTS[which].rows, columns = LAYOUTS[which].columns, size = (int64_t)fi_item_size(dtype);
    const int64_t every = LAYOUTS[which].gathered ? 3 : 1;
    const int64_t row_step = LAYOUTS[which].row_step * size, column_step = LAYOUTS[which].column_step * size;
    const int64_t extent = rows * llabs(row_step) + columns * llabs(column_step) + size, total = every * rows * columns;
    char *whole = malloc((size_t)(total * size)), *memory = malloc((size_t)(2 * extent)), *out = memory + extent;
    int64_t *table = malloc((size_t)rows * sizeof *table);
    fi_values values;
    int right = !fi_prepare(&values, FI_UNIFORM, dtype, PARAMETERS, 5, 6);
    isa->fill(&values, 0, (size_t)total, whole);
    memset(memory, 0xA5, (size_t)(2 * extent));
    for (int64_t r = 0; r < rows; r++)
        table[r] = every * r;
    const fi_axis down = {rows, columns, row_step, every == 1 ? NULL : table}, along = {columns, 1, column_step, NULL};
    fi_plan plan = {0, out, 0, {{0, 0, 0, NULL}}};
    if (rows > 1 && llabs(row_step) > llabs(column_step))
        plan.axes[plan.naxes++] = down;
    plan.axes[plan.naxes++] = along;
    if (rows > 1 && llabs(row_step) <= llabs(column_step))
        plan.axes[plan.naxes++] = down;
    fi_run(isa, &values, &plan, 1, NULL, NULL);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            char *element = out + r * row_step + c * column_step;
            right &= !memcmp(element, whole + (every * r * columns + c) * size, (size_t)size);
            memset(element, 0xA5, (size_t)size);
        }
    for (int64_t i = 0; i < 2 * extent; i++) /* what lies between has not been touched */
        right &= (unsigned char)memory[i] == 0xA5;
    free(whole), free(memory), free(table);
    return right;
}

int check_layouts(const fi_isa *isa, int *lines) {
    int wrong = 0;
    for (size_t which = 0; which < sizeof LAYOUTS / sizeof *LAYOUTS; which++)
        for (int dtype = FI_FLOAT32; dtype <= FI_BFLOAT16; dtype++, ++*lines)
            if (!is_right(isa, (fi_dtype)dtype, which)) {
                fprintf(stderr, "harness: %s fills layout %zu of dtype %d wrongly\n", isa->name, which, dtype);
                wrong++;
            }
    return wrong;
}

/* apart.h - elements to memory that is not one run: in steps, in short runs, in columns.
 *
 * Opened by template.h, which makes elements in a small buffer; from there they go to their places a few lines of
 * memory at a time, so that the CPU stores these while it makes the next. */

/* One run of elements to every step-th place. */
static void FN(spread)(char *to, int64_t step, const char *from, int64_t count, size_t size) {
    int64_t done = 0;
    if (size == 4 && step == -4)
        for (; done + LANES <= count; done += LANES)
            u32_copy_backwards(to + done * step, from + done * 4);
    else if (size == 4 && step == 8)
        for (; done + LANES <= count; done += LANES)
            u32_copy_to_every_second(to + done * step, from + done * 4);
    spread_elements(to + done * step, step, from + done * (int64_t)size, size, count - done);
}

/* Runs of `length` neighbours in memory that are `step` bytes apart, which are filled one after the other. */
typedef struct {
    char *out;      /* the run that the next element belongs to */
    int64_t inside; /* elements of it that are there already */
    int64_t length, step;
    size_t size; /* of an element */
} FN(places);

static void FN(put)(FN(places) * p, const char *from, int64_t count) {
    const int64_t size = (int64_t)p->size;
    if (p->length == 1) {
        FN(spread)(p->out, p->step, from, count, p->size);
        p->out += count * p->step;
        return;
    }
    while (count) {
        const int64_t whole = p->inside ? 0 : count / p->length;
        copy_elements(p->out, p->step, from, p->length * size, (size_t)(p->length * size), whole);
        from += whole * p->length * size;
        count -= whole * p->length;
        p->out += whole * p->step;
        const int64_t n = fi_least(p->length - p->inside, count);
        memcpy(p->out + p->inside * size, from, (size_t)(n * size));
        from += n * size;
        count -= n;
        p->inside += n;
        if (p->inside == p->length) {
            p->inside = 0;
            p->out += p->step;
        }
    }
}

static void FN(fill_apart)(const fi_values *values, uint64_t first, size_t count, void *out, int64_t length,
                           int64_t step) {
    enum {
        MADE = 1024 / PAIR / GROUPS * GROUPS, /* vector pairs of words at once; 2048 words: every second place 0.96 */
        PUT = 8,                              /* vector pairs of elements at once */
    };
    const size_t size = fi_item_size(values->dtype), per_block = fi_per_block(values->dtype);
    const size_t per_pair = per_block * BLOCKS;
    uint32_t words[(MADE + GROUPS) * PAIR] __attribute__((aligned(64)));
    char elements[PUT * PAIR * 4] __attribute__((aligned(64)));
    FN(places) places = {out, 0, length, step, size};
    const int is_constant = values->distribution == FI_CONSTANT;
    /* Lines with gaps are fetched while the words are made, but not where most of what comes would be gaps. */
    const int64_t pitch = step * (int64_t)per_pair / length, own = (int64_t)(per_pair * size);
    const int is_fetched = llabs(pitch) > own && llabs(pitch) <= 16 * own;
    uint64_t block = first / per_block;
    size_t skip = (size_t)(first % per_block);
    if (is_constant)
        FN(fill_constant)(values, sizeof elements / size, elements);
    while (count) {
        const size_t wanted = (skip + count + per_pair - 1) / per_pair, pairs = wanted < MADE ? wanted : MADE;
        const char *ahead = NULL;
        if (is_fetched)
            ahead = pitch < 0 ? places.out + (int64_t)pairs * pitch : places.out;
        if (!is_constant)
            FN(generate)(words, pairs, values, block, ahead, (size_t)llabs(pitch));
        else if (is_fetched)
            fetch_lines(ahead, (int64_t)pairs, llabs(pitch));
        block += pairs * BLOCKS;
        for (size_t done = 0; done < pairs; done += PUT) {
            const size_t n = pairs - done < PUT ? pairs - done : PUT, made = n * per_pair - skip;
            FN(transform)(words + done * PAIR, n, values, elements);
            FN(put)(&places, elements + skip * size, (int64_t)(made < count ? made : count));
            count -= made < count ? made : count;
            skip = 0;
        }
    }
}

/* ---- rows to columns ---------------------------------------------------------------------------------- */

LANE void put_line(char *to, u32v line, int stream) {
    if (stream)
        u32_stream((uint32_t *)to, line);
    else
        u32_store((uint32_t *)to, line);
}
LANE u32v row_at(const char *row, int64_t bytes) { return u32_load((const uint32_t *)(row + bytes)); }

/* Squares, as wide and as tall as a vector of elements of 8, 4 and 2 bytes. Two rows of smaller elements are zipped to
 * one of pairs, which are elements of twice the size; a zip works on units of 16 bytes of its vectors. */
LANE void square_u64(char *to, int64_t step, const char *const *from, int64_t at, int stream) {
    u64v row[BLOCKS];
    UNROLL
    for (int k = 0; k < BLOCKS; k++)
        row[k] = u64_of_u32(row_at(from[k], at));
    u64_transpose(row);
    UNROLL
    for (int k = 0; k < BLOCKS; k++)
        put_line(to + k * step, u32_of_u64(row[k]), stream);
}
/* To four columns of every `unit`. */
LANE void columns_u32(char *to, int64_t step, const u32v row[LANES], int unit, int stream) {
    u64v low[BLOCKS], high[BLOCKS];
    UNROLL
    for (int k = 0; k < BLOCKS; k++) {
        low[k] = u64_of_u32(u32_zip_low(row[2 * k], row[2 * k + 1]));
        high[k] = u64_of_u32(u32_zip_high(row[2 * k], row[2 * k + 1]));
    }
    u64_transpose(low);
    u64_transpose(high);
    UNROLL
    for (int k = 0; k < BLOCKS; k++) {
        const int column = k / 2 * unit + k % 2;
        put_line(to + column * step, u32_of_u64(low[k]), stream);
        put_line(to + (column + 2) * step, u32_of_u64(high[k]), stream);
    }
}
LANE void square_u32(char *to, int64_t step, const char *const *from, int64_t at, int stream) {
    u32v row[LANES];
    UNROLL
    for (int k = 0; k < LANES; k++)
        row[k] = row_at(from[k], at);
    columns_u32(to, step, row, 4, stream);
}
LANE void square_u16(char *to, int64_t step, const char *const *from, int64_t at, int stream) {
    u32v low[LANES], high[LANES];
    UNROLL
    for (int k = 0; k < LANES; k++) {
        const u32v a = row_at(from[2 * k], at), b = row_at(from[2 * k + 1], at);
        low[k] = u16_zip_low(a, b);
        high[k] = u16_zip_high(a, b);
    }
    columns_u32(to, step, low, 8, stream);
    columns_u32(to + 4 * step, step, high, 8, stream);
}

LANE void squares(char *out, int64_t step, const char *const *from, int64_t tall, int64_t wide, int size, int stream) {
    const int side = 4 * LANES / size;
    for (int64_t column = 0; column < wide; column += side)
        for (int64_t row = 0; row < tall; row += side) {
            char *to = out + column * step + row * size;
            if (size == 8)
                square_u64(to, step, from + row, column * size, stream);
            else if (size == 4)
                square_u32(to, step, from + row, column * size, stream);
            else
                square_u16(to, step, from + row, column * size, stream);
        }
}

static void FN(transpose)(char *out, int64_t step, const char *const *from, int64_t rows, int64_t columns, size_t size,
                          int stream) {
    const int64_t side = 4 * LANES / (int64_t)size, tall = rows / side * side, wide = columns / side * side;
    const int whole_lines = stream && (uintptr_t)out % 64 == 0 && step % 64 == 0;
    switch (size << 1 | (size_t)whole_lines) {
    case 16: squares(out, step, from, tall, wide, 8, 0); break;
    case 17: squares(out, step, from, tall, wide, 8, 1); break;
    case 8: squares(out, step, from, tall, wide, 4, 0); break;
    case 9: squares(out, step, from, tall, wide, 4, 1); break;
    case 4: squares(out, step, from, tall, wide, 2, 0); break;
    default: squares(out, step, from, tall, wide, 2, 1); break;
    }
    copy_columns(out + tall * (int64_t)size, step, from + tall, rows - tall, wide, size);
    for (int64_t row = 0; row < rows && wide < columns; row++)
        copy_elements(out + wide * step + row * (int64_t)size, step, from[row] + wide * (int64_t)size, (int64_t)size,
                      size, columns - wide);
}

static void FN(end_streams)(void) { stream_end(); }

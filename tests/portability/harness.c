/* harness.c - the golden hashes and known answers from the C core alone, without Python.
 *
 *     harness GOLDEN GOLDEN_ORTHOGONAL KAT
 *
 * Runs every instruction set that is compiled in and that the CPU (or its emulator) runs. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"
#include "layouts.h"

/* ---- SHA-256 (FIPS 180-4) ---------------------------------------------------------------------- */

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t h[8], const unsigned char *p) {
    static const uint32_t K[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                     K[i] + w[i];
        uint32_t b =
            (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += a;
        s[0] = a + b;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

static void sha256(char hex[65], const unsigned char *data, size_t size) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char last[128] = {0};
    size_t whole = size / 64 * 64, rest = size - whole, end = rest < 56 ? 64 : 128;
    for (size_t at = 0; at < whole; at += 64)
        sha256_block(h, data + at);
    memcpy(last, data + whole, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        last[end - 1 - (size_t)i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
    for (size_t at = 0; at < end; at += 64)
        sha256_block(h, last + at);
    for (int i = 0; i < 8; i++)
        sprintf(hex + 8 * i, "%08x", h[i]);
}

/* ---- the files ----------------------------------------------------------------------------------- */

static int find(const char *word, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(word, words[i]))
            return i;
    fprintf(stderr, "harness: unknown word %s\n", word);
    exit(2);
}

static void to_little_endian(unsigned char *data, size_t count, size_t size) {
    const uint16_t one = 1;
    if (*(const unsigned char *)&one)
        return;
    for (size_t i = 0; i < count; i++, data += size)
        for (size_t k = 0; k < size / 2; k++) {
            unsigned char byte = data[k];
            data[k] = data[size - 1 - k];
            data[size - 1 - k] = byte;
        }
}

/* ---- the floating-point environment ------------------------------------------------------------- */

/* What a caller may have left: rounding upward and, where there is such a bit, denormals flushed to zero. */
#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
static unsigned control(void) { return _mm_getcsr() & ~0x3Fu; /* less the exceptions so far */ }
static void set_control(unsigned bits) { _mm_setcsr(bits); }
#define FLUSH 0x8040
#elif defined(__aarch64__)
static uint64_t control(void) {
    uint64_t bits;
    __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
}
static void set_control(uint64_t bits) { __asm__ volatile("msr fpcr, %0" : : "r"(bits)); }
#define FLUSH (1 << 24 | 1 << 19)
#elif defined(__arm__)
static unsigned control(void) {
    unsigned bits;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(bits));
    return bits & 0x07F70000; /* less flags and exceptions so far */
}
static void set_control(unsigned bits) { __asm__ volatile("vmsr fpscr, %0" : : "r"(bits)); }
#define FLUSH (1 << 24)
#else
static int control(void) { return 0; }
static void set_control(int bits) { (void)bits; }
#define FLUSH 0
#endif

static int check_golden(const fi_isa *isa, const char *line) {
    static const char *const DISTRIBUTIONS[] = {"constant", "uniform", "normal", "truncated_normal", NULL};
    static const char *const DTYPES[] = {"float32", "float64", "float16", "bfloat16", NULL};
    char distribution[32], dtype[32], list[256], seed[64], name[256], expected[65], hex[65];
    unsigned long long key, stream, first, count;
    if (sscanf(line, "%31s %31s %255s %63s %255s %llx %llx %llu %llu %64s", distribution, dtype, list, seed, name, &key,
               &stream, &first, &count, expected) != 10) {
        fprintf(stderr, "harness: not a golden line: %s", line);
        return 1;
    }
    double parameters[4] = {0, 0, 0, 0};
    int n = 0;
    for (char *word = strtok(list, ","); word && n < 4; word = strtok(NULL, ","))
        parameters[n++] = strtod(word, NULL);
    const fi_distribution kind = (fi_distribution)find(distribution, DISTRIBUTIONS);
    const fi_dtype type = (fi_dtype)find(dtype, DTYPES);
    const size_t size = fi_item_size(type);
    unsigned char *out = malloc((size_t)count * size);
    const fi_plan plan = {first, (char *)out, 1, {{(int64_t)count, 1, (int64_t)size, NULL}}};
    fi_values values;
    fesetround(FE_UPWARD);
    set_control(control() | FLUSH);
    const long before = (long)control();
    const int rounding = fegetround(); /* on i686, the x87's */
    const char *refused = fi_prepare(&values, kind, type, parameters, key, stream);
    if (!refused)
        fi_run(isa, &values, &plan, 1, NULL, NULL);
    const int is_kept = (long)control() == before && fegetround() == rounding;
    fesetround(FE_TONEAREST);
    set_control(control() & ~FLUSH);
    if (!is_kept) {
        fprintf(stderr, "harness: %s changes the caller's floating-point environment\n", isa->name);
        return 1;
    }
    if (refused) {
        fprintf(stderr, "harness: %s: %s", refused, line);
        return 1;
    }
    to_little_endian(out, count, size);
    sha256(hex, out, count * size);
    free(out);
    if (!strcmp(hex, expected))
        return 0;
    fprintf(stderr, "harness: %s gives %s for %s", isa->name, hex, line);
    return 1;
}

/* ---- orthogonal: docs/stream.md, section 6, a third time ------------------------------------------- */

typedef struct {
    const fi_isa *isa;
    fi_dtype dtype; /* the working precision */
    int64_t size;
} core;

static char *scratch(void) {
    static char *memory;
    return memory ? memory : (memory = aligned_alloc(64, FI_SCRATCH));
}
static void do_step(const fi_isa *isa, fi_step step) {
    int64_t done = 0;
    fi_run_steps(isa, &step, 1, scratch(), 1, 0, &done, NULL, NULL);
}
static char *zeros(int64_t count, int64_t size) { return calloc((size_t)(count ? count : 1), (size_t)size); }

/* C (rows x columns, its rows `c_row` apart) from A and B, whose steps are in elements. */
static void multiply(const core *c, fi_update update, int64_t rows, int64_t columns, int64_t depth, const void *a,
                     int64_t a_row, int64_t a_depth, const void *b, int64_t b_depth, void *to, int64_t c_row) {
    const fi_product product = {c->dtype, update,  rows,    columns, depth, a,      b,      to,
                                a_row,    a_depth, b_depth, 1,       c_row, FI_ALL, FI_ALL, FI_ALL};
    do_step(c->isa, (fi_step){.kind = FI_STEP_MULTIPLY, .as.multiply = {.product = product, .count = 1}});
}

static void put(const core *c, char *to, int64_t at, double x) {
    if (c->dtype == FI_FLOAT64)
        ((double *)to)[at] = x;
    else
        ((float *)to)[at] = (float)x;
}

/* q from g, both m x n, m >= n. */
static void general(const core *c, int64_t m, int64_t n, const char *g, char *q) {
    double signs[128], *work = malloc(2 * 128 * 128 * sizeof(double));
    for (int64_t first = (n - 1) / 128 * 128; first >= 0; first -= 128) {
        const int64_t rows = m - first, b = fi_least(128, n - first), columns = n - first;
        char *v = zeros(rows * b, c->size), *t = zeros(b * b, c->size), *part = q + (first * n + first) * c->size;
        char *w = zeros(b * columns, c->size), *x = zeros(b * columns, c->size);
        for (int64_t i = 0; i < rows; i++)
            memcpy(v + i * b * c->size, g + ((first + i) * n + first) * c->size, (size_t)(b * c->size));
        do_step(c->isa, (fi_step){.kind = FI_STEP_REFLECTORS, .as.reflectors = {c->dtype, v, rows, b, b, signs}});
        multiply(c, FI_SET, b, b, rows, v, 1, b, v, b, t, b);
        fi_triangular_factor(c->dtype, t, work, b);
        for (int64_t k = 0; k < b; k++)
            put(c, part, k * n + k, signs[k]);
        multiply(c, FI_SET, b, b, b, v, 1, b, part, n, w, columns);
        multiply(c, FI_SET, b, columns - b, rows - b, v + b * b * c->size, 1, b, part + (b * n + b) * c->size, n,
                 w + b * c->size, columns);
        multiply(c, FI_SET, b, columns, b, t, b, 1, w, columns, x, columns);
        multiply(c, FI_SUBTRACT, rows, columns, b, v, b, 1, x, columns, part, n);
        free(v), free(t), free(w), free(x);
    }
    free(work);
}

static void tall(const core *c, int64_t m, int64_t n, const char *g, char *q) {
    const core wide = {c->isa, FI_FLOAT64, 8};
    double *r = (double *)zeros(n * n, 8), *y = (double *)zeros(n * n, 8), *z = (double *)zeros(n * 128, 8);
    double *diagonal = (double *)zeros(n * 128, 8);
    char *part = zeros(n * n, c->size);
    for (int64_t row = 0; row < m; row += 1024) {
        const char *own = g + row * n * c->size;
        multiply(c, FI_SET, n, n, fi_least(1024, m - row), own, 1, n, own, n, part, n);
        do_step(c->isa,
                (fi_step){.kind = FI_STEP_ACCUMULATE, .as.accumulate = {c->dtype, n, n, 1, 0, n, part, r, n, 0, 0}});
    }
    for (int64_t j = 0; j < n; j += 128)
        for (int64_t i = 0; i <= j; i += 128) {
            const int64_t rows = fi_least(128, n - i), columns = fi_least(128, n - j);
            double *own = r + i * n + j, *inverse = diagonal + i * 128;
            multiply(&wide, FI_SUBTRACT, rows, columns, i, r + i, 1, n, r + j, n, own, n);
            if (i < j) {
                for (int64_t k = 0; k < rows; k++)
                    memcpy(z + k * columns, own + k * n, (size_t)columns * 8);
                multiply(&wide, FI_SET, rows, columns, rows, inverse, 1, rows, z, columns, own, n);
            } else {
                fi_cholesky(own, rows, n);
                fi_invert_upper(own, n, inverse, rows);
            }
        }
    for (int64_t j = 0; j < n; j += 128) {
        const int64_t columns = fi_least(128, n - j);
        memset(z, 0, (size_t)(n * 128 * 8));
        for (int64_t i = 0; i < j; i += 128)
            multiply(&wide, FI_ADD, i + 128, columns, 128, y + i, n, 1, r + i * n + j, n, z, columns);
        multiply(&wide, FI_SUBTRACT, j, columns, columns, z, columns, 1, diagonal + j * 128, columns, y + j, n);
        for (int64_t k = 0; k < columns; k++)
            memcpy(y + (j + k) * n + j, diagonal + j * 128 + k * columns, (size_t)columns * 8);
    }
    for (int64_t i = 0; i < n * n; i++)
        put(c, part, i, y[i]);
    multiply(c, FI_SET, m, n, n, g, n, 1, part, n, q, n);
    free(r), free(y), free(z), free(diagonal), free(part);
}

static int check_orthogonal(const fi_isa *isa, const char *line) {
    static const char *const DTYPES[] = {"float32", "float64", "float16", "bfloat16", NULL};
    char dtype[32], gain[64], seed[64], name[256], expected[65], hex[65];
    unsigned long long rows, columns, key, stream;
    if (sscanf(line, "%llu %llu %31s %63s %63s %255s %llx %llx %64s", &rows, &columns, dtype, gain, seed, name, &key,
               &stream, expected) != 9) {
        fprintf(stderr, "harness: not a golden line: %s", line);
        return 1;
    }
    const fi_dtype result = (fi_dtype)find(dtype, DTYPES);
    const core c = {isa, result == FI_FLOAT64 ? FI_FLOAT64 : FI_FLOAT32, result == FI_FLOAT64 ? 8 : 4};
    const double standard[4] = {0, 1, 0, 0};
    const int64_t count = (int64_t)(rows * columns), across = rows < columns;
    const int64_t m = (int64_t)(across ? columns : rows), n = (int64_t)(across ? rows : columns);
    fi_values normal;
    fi_prepare(&normal, FI_NORMAL, c.dtype, standard, key, stream);
    char *g = zeros(count, c.size), *turned = zeros(count, c.size), *q = zeros(count, c.size), *out = zeros(count, 8);
    const fi_plan plan = {0, g, 1, {{count, 1, c.size, NULL}}};
    fi_run(isa, &normal, &plan, 1, NULL, NULL);
    for (int64_t i = 0; i < m && across; i++)
        for (int64_t k = 0; k < n; k++)
            memcpy(turned + (i * n + k) * c.size, g + (k * m + i) * c.size, (size_t)c.size);
    (m < 8 * n ? general : tall)(&c, m, n, across ? turned : g, q);
    for (int64_t i = 0; i < m && across; i++)
        for (int64_t k = 0; k < n; k++)
            memcpy(turned + (k * m + i) * c.size, q + (i * n + k) * c.size, (size_t)c.size);
    const fi_offsets one = {1, 0, NULL}, from = {count, c.size, NULL},
                     to = {count, (int64_t)fi_item_size(result), NULL};
    const fi_scaling scale = {c.dtype, result, strtod(gain, NULL), across ? turned : q, one, from, out, one, to, 0, 0};
    do_step(isa, (fi_step){.kind = FI_STEP_SCALE, .as.scale = scale});
    to_little_endian((unsigned char *)out, (size_t)count, fi_item_size(result));
    sha256(hex, (unsigned char *)out, (size_t)count * fi_item_size(result));
    free(g), free(turned), free(q), free(out);
    if (!strcmp(hex, expected))
        return 0;
    fprintf(stderr, "harness: %s gives %s for %s", isa->name, hex, line);
    return 1;
}

static int check_answer(const fi_isa *isa, const char *line) {
    unsigned c[4], k[2], o[4];
    uint32_t out[4];
    if (sscanf(line, "%x %x %x %x %x %x %x %x %x %x", c, c + 1, c + 2, c + 3, k, k + 1, o, o + 1, o + 2, o + 3) != 10)
        return 1;
    isa->words(out, 4, k[0] | (uint64_t)k[1] << 32, c[0] | (uint64_t)c[1] << 32, c[2] | (uint64_t)c[3] << 32);
    int wrong = 0;
    for (int i = 0; i < 4; i++)
        wrong |= out[i] != o[i];
    if (wrong)
        fprintf(stderr, "harness: %s does not give %s", isa->name, line);
    return wrong;
}

static int check_file(const fi_isa *isa, const char *path, int (*check)(const fi_isa *, const char *), int *lines) {
    char line[1024];
    int wrong = 0;
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, file))
        if (line[0] != '#') {
            wrong += check(isa, line);
            ++*lines;
        }
    fclose(file);
    return wrong;
}

int main(int count, char **arguments) {
    int failed = 0;
    if (count != 4) {
        fputs("usage: harness GOLDEN GOLDEN_ORTHOGONAL KAT\n", stderr);
        return 2;
    }
    fi_parallel_init();
    for (int i = 0; fi_isas_compiled[i]; i++) {
        const fi_isa *isa = fi_isas_compiled[i];
        if (!fi_isa_runs(isa)) {
            printf("    %-7s not run: this CPU has none\n", isa->name);
            continue;
        }
        int lines = 0, wrong = check_file(isa, arguments[1], check_golden, &lines);
        wrong += check_file(isa, arguments[2], check_orthogonal, &lines);
        wrong += check_file(isa, arguments[3], check_answer, &lines);
        wrong += check_layouts(isa, &lines);
        printf("    %-7s %d of %d\n", isa->name, lines - wrong, lines);
        failed |= wrong != 0 || lines < 10;
    }
    return failed;
}

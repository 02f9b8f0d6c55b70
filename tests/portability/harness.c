/* harness.c - the golden hashes and known answers from the C core alone, without Python.
 *
 *     harness GOLDEN KAT
 *
 * Runs every instruction set that is compiled in and that the CPU (or its emulator) runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastinit.h"

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
    fi_values values;
    const char *refused = fi_prepare(&values, (fi_distribution)find(distribution, DISTRIBUTIONS),
                                     (fi_dtype)find(dtype, DTYPES), parameters, key, stream);
    if (refused) {
        fprintf(stderr, "harness: %s: %s", refused, line);
        return 1;
    }
    const size_t size = fi_item_size(values.dtype);
    unsigned char *out = malloc(count * size);
    const fi_plan plan = {first, (char *)out, 1, {{(int64_t)count, 1, (int64_t)size, NULL}}};
    fi_run(isa, &values, &plan, 1, NULL, NULL);
    to_little_endian(out, count, size);
    sha256(hex, out, count * size);
    free(out);
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
    if (count != 3) {
        fputs("usage: harness GOLDEN KAT\n", stderr);
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
        wrong += check_file(isa, arguments[2], check_answer, &lines);
        printf("    %-7s %d of %d\n", isa->name, lines - wrong, lines);
        failed |= wrong != 0 || lines < 10;
    }
    return failed;
}

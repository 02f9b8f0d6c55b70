/* sweep.c - the worst error of every approximation over all of its inputs, with witnesses.
 *
 *     make -C tools sweep && tools/sweep [r] [sincos] [truncated LOWER UPPER] ...
 *
 * Runs the project's own lane functions on whatever ISA it is compiled for (they give the same bits on
 * all) against libm in float64. About a minute for each on two cores; docs/stream.md quotes the results. */
#define _DEFAULT_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__AVX512F__)
#include "lanes_avx512.h"
#elif defined(__AVX2__)
#include "lanes_avx2.h"
#elif defined(__aarch64__)
#include "lanes_neon.h"
#else
#include "lanes_base.h"
#endif
#define ISA sweep
#include "template.h"

typedef struct {
    double error;
    double at, value, exact;
} worst;

static void keep(worst *w, double error, double at, double value, double exact) {
    if (error > w->error)
        *w = (worst){error, at, value, exact};
}
static void merge(worst *all, const worst *mine) {
#pragma omp critical
    if (mine->error > all->error)
        *all = *mine;
}
static void report(const char *what, worst w, const char *unit) {
    printf("%-34s %.3e %s at word %.0f: %a (%.9g), exact %.12g\n", what, w.error, unit, w.at, w.value, w.value,
           w.exact);
}
static f32v load_f32(const float *x) {
    union {
        uint32_t u[LANES];
        float f[LANES];
    } both;
    memcpy(both.f, x, sizeof both);
    return f32_of_bits(u32_load(both.u));
}
static void unload_f32(float *x, f32v v) {
    uint32_t u[LANES];
    u32_store(u, f32_bits(v));
    memcpy(x, u, sizeof u);
}

static void sweep_r(void) {
    worst absolute = {0}, relative = {0};
    float largest = 0;
#pragma omp parallel reduction(max : largest)
    {
        worst a = {0}, r = {0};
#pragma omp for schedule(dynamic, 4096)
        for (int64_t first = 0; first < (INT64_C(1) << 31); first += LANES) {
            float u[LANES], got[LANES];
            for (int i = 0; i < LANES; i++)
                u[i] = fmaf((float)(int32_t)(first + i), 0x1p-31f, 0x1p-32f);
            unload_f32(got, f32_sqrt(minus_two_log_f32(load_f32(u))));
            for (int i = 0; i < LANES; i++) {
                const double exact = sqrt(-2 * log(u[i])), error = fabs(got[i] - exact);
                keep(&a, error, 2.0 * (double)(first + i), got[i], exact);
                if (exact > 0)
                    keep(&r, error / exact, 2.0 * (double)(first + i), got[i], exact);
                largest = got[i] > largest ? got[i] : largest;
            }
        }
        merge(&absolute, &a);
        merge(&relative, &r);
    }
    report("r, absolute", absolute, "");
    report("r, relative", relative, "");
    printf("r, largest                         %a (%.9g)\n", largest, largest);
}

static void sweep_sincos(void) {
    worst sine = {0}, cosine = {0};
    float largest = 0;
#pragma omp parallel reduction(max : largest)
    {
        worst s = {0}, c = {0};
#pragma omp for schedule(dynamic, 4096)
        for (int64_t first = 0; first < (INT64_C(1) << 32); first += LANES) {
            float h[LANES], got_s[LANES], got_c[LANES];
            f32v vs, vc;
            for (int i = 0; i < LANES; i++)
                h[i] = (float)(int32_t)((uint32_t)(first + i) << 1) * 0x1p-32f;
            sincospi_f32(load_f32(h), &vs, &vc);
            unload_f32(got_s, vs);
            unload_f32(got_c, vc);
            for (int i = 0; i < LANES; i++) {
                /* of the word itself: the conversion of h to float32 is part of the error */
                const double angle = (double)(int32_t)((uint32_t)(first + i) << 1) * (0x1p-32 * 3.14159265358979323846);
                keep(&s, fabs(got_s[i] - sin(angle)), (double)(first + i), got_s[i], sin(angle));
                keep(&c, fabs(got_c[i] - cos(angle)), (double)(first + i), got_c[i], cos(angle));
                largest = fmaxf(largest, fmaxf(fabsf(got_s[i]), fabsf(got_c[i])));
            }
        }
        merge(&sine, &s);
        merge(&cosine, &c);
    }
    report("sine, absolute", sine, "");
    report("cosine, absolute", cosine, "");
    printf("sine or cosine, largest            %a\n", largest);
}

/* Q(z) / density(z) relations give the error of z from that of the tail probability, without an inverse. */
static double tail(double z) { return 0.5 * erfc(z * 0.70710678118654752440); }

static void sweep_truncated(double lower, double upper) {
    fi_values values;
    const double parameters[4] = {0, 1, lower, upper};
    const char *refused = fi_prepare(&values, FI_TRUNCATED, FI_FLOAT32, parameters, 0, 0);
    if (refused) {
        puts(refused);
        return;
    }
    const double below = tail(-lower), above = tail(upper);
    const double inside = lower > 0 ? tail(lower) - above : upper < 0 ? tail(-upper) - below : 1 - below - above;
    worst near = {0}, beyond = {0}, ulps = {0};
    int64_t falls = 0;
#pragma omp parallel reduction(+ : falls)
    {
        worst n = {0}, b = {0}, q = {0};
#pragma omp for schedule(dynamic, 65536)
        for (int64_t first = 0; first < (INT64_C(1) << 32); first += PAIR) {
            uint32_t words[PAIR];
            float got[PAIR];
            for (int i = 0; i < PAIR; i++)
                words[i] = (uint32_t)(first + i);
            convert_sweep(&values, words, PAIR / 4, got);
            for (int i = 0; i < PAIR; i++) {
                const double z = got[i], t = ((double)(first + i) + 0.5) * 0x1p-32;
                const double t1 = (4294967295.0 - (double)(first + i) + 0.5) * 0x1p-32;
                const double p = z < 0 ? below + inside * t : above + inside * t1; /* the tail on z's side */
                const double density = 0.39894228040143267794 * exp(-0.5 * z * z);
                const double error = fabs(tail(fabs(z)) - p) / density;
                if (fabs(z) <= 3)
                    keep(&n, error, (double)(first + i), z, z);
                else
                    keep(&b, error / fabs(z), (double)(first + i), z, z);
                keep(&q, error / (nextafterf(fabsf(got[i]), INFINITY) - fabsf(got[i])), (double)(first + i), z, z);
                falls += i > 0 && got[i] < got[i - 1];
            }
        }
        merge(&near, &n);
        merge(&beyond, &b);
        merge(&ulps, &q);
    }
    printf("truncated [%g, %g], method %d, steps down %lld\n", lower, upper, values.cut.method, (long long)falls);
    report("  |z| <= 3, absolute", near, "");
    report("  beyond, relative", beyond, "");
    if (lower > 3 || upper < -3)
        report("  in ulp of z", ulps, "ulp");
}

int main(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        if (!strcmp(arguments[i], "r"))
            sweep_r();
        else if (!strcmp(arguments[i], "sincos"))
            sweep_sincos();
        else if (!strcmp(arguments[i], "truncated") && i + 2 < count) {
            sweep_truncated(strtod(arguments[i + 1], NULL), strtod(arguments[i + 2], NULL));
            i += 2;
        }
        fflush(stdout);
    }
    return 0;
}

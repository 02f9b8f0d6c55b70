/* prepare.c - checks a distribution's parameters and turns them into what the kernels need.
 *
 * Runs once per tensor, in scalar float64, from the same operations as the kernels: no libm. */
#include <float.h>

#include "coefficients.h"
#include "fastinit.h"
#include "fpenv.h"

#define UNROLL
#include "lanes_base.h"
#include "log.h"

/* The largest |z| that the float32 and the float64 kernel make: r at u = 2^-32 and 2^-54, times the
 * largest sine or cosine (tools/sweep.c: 1 in float32; the float64 one is 1 to a few units of 2^-53). */
#define LARGEST_Z32 0x1.aa449ap+2
#define LARGEST_Z64 (0x1.14def5c0b1b47p+3 * (1 + 0x1p-48))
#define INV_SQRT_TWO_PI 0x1.9884533d43651p-2

static double ln(double x) { return log_f64(f64_set(x)).lane[0]; }

/* exp x for x <= 0: the Taylor series on |r| <= ln 2 / 2, where 18 terms leave 1e-24. */
static double exp_negative(double x) {
    if (!(x > -745.0))
        return 0;
    const double n = (double)(int)(x / LN2 - 0.5);
    const double r = fi_fma64(-n, LN2_LOW, fi_fma64(-n, LN2_HIGH, x));
    double sum = 1;
    for (int k = 18; k > 0; k--)
        sum = fi_fma64(r / k, sum, 1.0);
    /* in two steps, so that 2^n stays normal */
    const int half = (int)n / 2;
    const double first = fi_double_of_bits((uint64_t)(1023 + half) << 52);
    const double second = fi_double_of_bits((uint64_t)(1023 + (int)n - half) << 52);
    return sum * first * second;
}

/* ---- the normal distribution function, 0 <= x ---------------------------------------------------- */

static double density(double x) {
    const double square = x * x, rest = fi_fma64(x, x, -square);
    return INV_SQRT_TWO_PI * exp_negative(-0.5 * square) * (square < 1e300 ? 1 - 0.5 * rest : 1);
}
/* density(x) / Q(x) for x >= 1 by Laplace's continued fraction x + 1/(x + 2/(x + ...)), all
 * terms positive; 400 of them leave exp(-2 x sqrt(800)) (Abramowitz & Stegun 26.2.14). */
static double hazard(double x) {
    double tail = x;
    for (int k = 400; k > 0; k--)
        tail = x + k / tail;
    return tail;
}
static double mills_ratio(double x) { return 1 / hazard(x); }
/* Phi(x) - 1/2 for 0 <= x < 1: density(x) (x + x^3/3 + x^5/(3 5) + ...) (26.2.11). */
static double central_area(double x) {
    double sum = 0;
    for (int k = 61; k > 0; k -= 2)
        sum = fi_fma64(sum, x * x / (k + 2), 1.0);
    return density(x) * x * sum;
}
static double upper_tail(double x) { return x < 1 ? 0.5 - central_area(x) : density(x) * mills_ratio(x); }
static double minus_log_upper_tail(double x) { /* x >= 1 */ return 0.5 * x * x + HALF_LN_TWO_PI - ln(mills_ratio(x)); }
/* Phi(x) - 1/2 for any x */
static double signed_area(double x) {
    const double a = x < 0 ? -x : x;
    const double area = a < 1 ? central_area(a) : 0.5 - upper_tail(a);
    return x < 0 ? -area : area;
}

/* ---- rounding to the dtype ---------------------------------------------------------------------- */

static float round_to_odd(double x) {
    const float f = (float)x;
    if ((double)f == x || x != x)
        return f;
    uint32_t u = fi_bits_of_float(f);
    if ((u & 1) == 0) { /* of the two neighbours of x, the odd one */
        const int outward = (x > 0) == (x > (double)f);
        u = outward ? u + 1 : u - 1;
        if (f == 0)
            u = 1 | (x < 0 ? 0x80000000u : 0);
    }
    return fi_float_of_bits(u);
}

/* The bits of x rounded once to the dtype; a NaN gives the usual quiet one. */
static uint64_t bits_in(fi_dtype dtype, double x) {
    switch (dtype) {
    case FI_FLOAT64: return fi_bits_of_double(x);
    case FI_FLOAT32: return x != x ? 0x7FC00000u : fi_bits_of_float((float)x);
    case FI_FLOAT16: return x != x ? 0x7E00u : fi_float16_of_float(round_to_odd(x));
    default:
        if (x != x)
            return 0x7FC0u;
        if (x > FLT_MAX || x < -FLT_MAX) /* rounded to odd, infinity would become finite */
            return x > 0 ? 0x7F80u : 0xFF80u;
        return fi_bfloat16_upper(fi_bits_of_float(round_to_odd(x))) >> 16;
    }
}
static double value_of(fi_dtype dtype, uint64_t bits) {
    switch (dtype) {
    case FI_FLOAT64: return fi_double_of_bits(bits);
    case FI_FLOAT32: return fi_float_of_bits((uint32_t)bits);
    case FI_BFLOAT16: return fi_float_of_bits((uint32_t)bits << 16);
    default: break;
    }
    const double sign = bits & 0x8000 ? -1 : 1;
    const int exponent = (int)(bits >> 10 & 31);
    const double fraction = (double)(bits & 0x3FF);
    if (exponent == 31)
        return sign * fi_double_of_bits(UINT64_C(0x7FF) << 52);
    if (exponent == 0)
        return sign * fraction * 0x1p-24;
    return sign * (1024 + fraction) * fi_double_of_bits((uint64_t)(1023 + exponent - 25) << 52);
}
static double rounded(fi_dtype dtype, double x) { return value_of(dtype, bits_in(dtype, x)); }

static double largest_below(fi_dtype dtype, double x) {
    const uint64_t sign = UINT64_C(1) << (8 * fi_item_size(dtype) - 1);
    const uint64_t bits = bits_in(dtype, x);
    if ((bits & ~sign) == 0)
        return value_of(dtype, sign | 1);
    return value_of(dtype, bits & sign ? bits + 1 : bits - 1);
}

/* ---- the distributions --------------------------------------------------------------------------- */

static int is_finite(double x) { return x - x == 0; }
static int is_narrow(fi_dtype dtype) { return dtype != FI_FLOAT64; }

static double clamped(const fi_values *v, double x) {
    return x < v->hold_low ? v->hold_low : x > v->hold_high ? v->hold_high : x;
}

static const char *prepare_constant(fi_values *v, double value) {
    v->pattern = bits_in(v->dtype, value);
    v->least = v->greatest = value_of(v->dtype, v->pattern);
    if (is_finite(value) && !is_finite(v->least))
        return "value overflows the dtype";
    return NULL;
}

static const char *prepare_uniform(fi_values *v, double low, double high) {
    double last; /* what the largest word gives, before the hold rule */
    if (is_narrow(v->dtype)) {
        const float l = (float)low, h = (float)high;
        if (!is_finite(l) || !is_finite(h))
            return "low and high must be finite in float32";
        if (low > high)
            return "low must not be above high";
        const double width = (double)h - (double)l;
        if (width > 0 && width < 0x1p-102)
            return "high - low must be 0 or at least 2**-102 in float32";
        if (!is_finite(rounded(v->dtype, low)))
            return "low must be finite in the dtype";
        v->shift32 = l;
        v->scale32 = (float)(width * 0x1p-24);
        last = fi_fma32(0x1p24f - 1, v->scale32, l);
    } else {
        if (!is_finite(low) || !is_finite(high))
            return "low and high must be finite";
        if (low > high)
            return "low must not be above high";
        if (low < high && high - low < 0x1p-969)
            return "high - low must be 0 or at least 2**-969";
        v->shift64 = low;
        v->scale64 = high * 0x1p-53 - low * 0x1p-53;
        last = fi_fma64(0x1p53 - 1, v->scale64, low);
    }
    const double first = is_narrow(v->dtype) ? v->shift32 : v->shift64;
    const double below = largest_below(v->dtype, high);
    v->hold_low = rounded(v->dtype, low);
    v->hold_high = below < v->hold_low ? v->hold_low : below;
    v->hold = first < v->hold_low || last > v->hold_high;
    v->least = rounded(v->dtype, clamped(v, first));
    v->greatest = rounded(v->dtype, clamped(v, last));
    return NULL;
}

static const char *prepare_scale(fi_values *v, double mean, double std) {
    if (!is_finite(mean) || !is_finite(std))
        return "mean and std must be finite";
    if (std < 0)
        return "std must not be negative";
    v->shift32 = (float)mean;
    v->scale32 = (float)std;
    v->shift64 = mean;
    v->scale64 = std;
    if (!is_narrow(v->dtype))
        return NULL;
    if (!is_finite(v->shift32))
        return "mean must be finite in float32";
    if (!is_finite(v->scale32))
        return "std overflows float32";
    if (std > 0 && v->scale32 == 0)
        return "std vanishes in float32";
    return NULL;
}

static double scaled(const fi_values *v, double z) {
    if (is_narrow(v->dtype))
        return rounded(v->dtype, fi_fma32((float)z, v->scale32, v->shift32));
    return fi_fma64(z, v->scale64, v->shift64);
}

static const char *prepare_normal(fi_values *v, double mean, double std) {
    const char *refused = prepare_scale(v, mean, std);
    const double z = is_narrow(v->dtype) ? LARGEST_Z32 : LARGEST_Z64;
    v->least = scaled(v, -z);
    v->greatest = scaled(v, z);
    return refused;
}

static void prepare_cut(fi_cut *cut, int bits, double lower, double upper) {
    const int upper_side = lower >= 0, lower_side = upper <= 0 && !upper_side;
    /* mirrored to the upper side, where one-sided: near is the cut next to 0 */
    const double near = lower_side ? -upper : lower, far = lower_side ? -lower : upper;
    const double everything = bits == 32 ? 0x1p32 : 0x1p53;
    cut->kmax = everything - 1;
    cut->scale = 1 / everything;
    cut->half = 0.5 / everything;
    cut->central_above = 0.075;
    cut->y0 = 0;
    cut->split = upper_side ? 0 : everything;
    const int one_sided = upper_side || lower_side;
    const double span = upper - lower;
    if (span < 1e-3 && (!one_sided || near * span < 1e-3)) {
        /* The density falls by its logarithm's slope -z. To first order in it, z = lower + s - s (span - s)
         * (lower / 2 + (span + s) / 6), s = t span; what is left out is below 2e-8 span. */
        cut->method = FI_CUT_NARROW;
        cut->origin = lower;
        cut->step = span;
        cut->bend = span * (lower / 2 + span / 6);
        cut->bend_slope = span * span / 6;
    } else if (one_sided && (near > 1000 || span < 1e-3)) {
        /* -ln Q(near + d) + ln Q(near) is rate d + change d^2 / 2, to 2e-8 of itself */
        const double rate = hazard(near), change = rate * (rate - near);
        const double outside = is_finite(span) ? exp_negative(-span * fi_fma64(change / 2, span, rate)) : 0;
        cut->method = FI_CUT_EXPONENTIAL;
        cut->base_low = cut->base_high = outside;
        cut->width = 1 - outside;
        cut->origin = lower_side ? -near : near;
        cut->step = lower_side ? 2 : -2;
        cut->rate = rate;
        cut->rate_change = -2 * change;
        cut->rate_square = rate * rate;
    } else if (bits == 32 && lower >= -2 && upper <= 2) {
        const double area = signed_area(upper) - signed_area(lower);
        cut->method = FI_CUT_CENTRAL;
        cut->slope = (float)(area * 0x1p-32);
        cut->center = (float)(signed_area(lower) + area * (0.5 + 0x1p-33));
    } else {
        cut->method = FI_CUT_GENERAL;
        if (one_sided && near > 3) {
            cut->y0 = minus_log_upper_tail(near);
            const double outside = far - far == 0 ? exp_negative(cut->y0 - minus_log_upper_tail(far)) : 0;
            cut->base_low = cut->base_high = outside;
            cut->width = 1 - outside;
            cut->central_above = 2; /* never */
        } else if (one_sided) {
            cut->base_low = cut->base_high = upper_tail(far);
            cut->width = upper_tail(near) - cut->base_high;
        } else {
            cut->base_low = upper_tail(-lower);
            cut->base_high = upper_tail(upper);
            cut->width = 1 - cut->base_low - cut->base_high;
            cut->split = (0.5 - cut->base_low) / cut->width * everything;
        }
        if (bits == 32 && !(one_sided && near > 3)) {
            cut->method = FI_CUT_TAILS;
            cut->slope = (float)(cut->width * 0x1p-32);
            cut->split32 = upper_side ? -FLT_MAX : lower_side ? FLT_MAX : (float)(cut->split - 0x1p31);
        }
    }
}

static const char *prepare_truncated(fi_values *v, double mean, double std, double lower, double upper) {
    const char *refused = prepare_scale(v, mean, std);
    if (refused)
        return refused;
    if (lower != lower || upper != upper)
        return "lower and upper must not be NaN";
    if (lower > upper)
        return "lower must not be above upper";
    if (lower > 1e30 || upper < -1e30)
        return "lower and upper leave nothing within 1e30 standard deviations";
    prepare_cut(&v->cut, is_narrow(v->dtype) ? 32 : 53, lower, upper);
    /* one-tailed words end at |z| = 6.3 (32 bits) and 8.4 (53 bits) */
    const double end = is_narrow(v->dtype) ? 6.5 : 8.6, infinity = fi_double_of_bits(UINT64_C(0x7FF) << 52);
    const double past = upper < 0 ? -upper : lower > 0 ? lower : 0;
    v->hold_low = is_finite(lower) ? rounded(v->dtype, mean + lower * std) : -infinity;
    v->hold_high = is_finite(upper) ? rounded(v->dtype, mean + upper * std) : infinity;
    v->hold = 1;
    v->least = is_finite(lower) ? v->hold_low : scaled(v, -(past + end));
    v->greatest = is_finite(upper) ? v->hold_high : scaled(v, past + end);
    return NULL;
}

void fi_put_on_stream(fi_values *values, uint64_t key, uint64_t stream) {
    values->key[0] = (uint32_t)key;
    values->key[1] = (uint32_t)(key >> 32);
    values->stream[0] = (uint32_t)stream;
    values->stream[1] = (uint32_t)(stream >> 32);
}

const char *fi_prepare(fi_values *values, fi_distribution distribution, fi_dtype dtype, const double parameters[4],
                       uint64_t key, uint64_t stream) {
    const fi_fpenv saved = fi_fpenv_default();
    const char *refused = NULL;
    memset(values, 0, sizeof *values);
    values->distribution = distribution;
    values->dtype = dtype;
    fi_put_on_stream(values, key, stream);
    const double *p = parameters;
    switch (distribution) {
    case FI_CONSTANT: refused = prepare_constant(values, p[0]); break;
    case FI_UNIFORM: refused = prepare_uniform(values, p[0], p[1]); break;
    case FI_NORMAL: refused = prepare_normal(values, p[0], p[1]); break;
    case FI_TRUNCATED: refused = prepare_truncated(values, p[0], p[1], p[2], p[3]); break;
    }
    fi_fpenv_restore(saved);
    return refused;
}

/* sincos.h - sine and cosine of a full turn's fraction, for Box-Muller.
 *
 * theta = pi (K + h) with K an integer and h in [-1/2, 1/2): the integer arithmetic of the words is
 * exact, and sin and cos of theta are (-1)^K times those of pi h. The sign goes to r once, so there is
 * no swap of sine and cosine and no second sign. */

/* sin(pi h) = h S(h^2), cos(pi h) = C(h^2), |h| <= 1/2. Worst errors: docs/stream.md. */
LANE void sincospi_f32(f32v h, f32v *sine, f32v *cosine) {
    f32v x = f32_mul(h, h);
    f32v s = f32_set(SIN32_4), c = f32_set(COS32_5);
    s = f32_fma(s, x, f32_set(SIN32_3));
    c = f32_fma(c, x, f32_set(COS32_4));
    s = f32_fma(s, x, f32_set(SIN32_2));
    c = f32_fma(c, x, f32_set(COS32_3));
    s = f32_fma(s, x, f32_set(SIN32_1));
    c = f32_fma(c, x, f32_set(COS32_2));
    s = f32_fma(s, x, f32_set(SIN32_0));
    c = f32_fma(c, x, f32_set(COS32_1));
    *sine = f32_mul(h, s);
    *cosine = f32_fma(c, x, f32_set(1.0f));
}

LANE void sincospi_f64(f64v h, f64v *sine, f64v *cosine) {
    static const double S[9] = {SIN64_0, SIN64_1, SIN64_2, SIN64_3, SIN64_4, SIN64_5, SIN64_6, SIN64_7, SIN64_8};
    static const double C[9] = {COS64_1, COS64_2, COS64_3, COS64_4, COS64_5, COS64_6, COS64_7, COS64_8, COS64_9};
    f64v x = f64_mul(h, h);
    f64v s = f64_set(S[8]), c = f64_set(C[8]);
    UNROLL
    for (int i = 7; i >= 0; i--) {
        s = f64_fma(s, x, f64_set(S[i]));
        c = f64_fma(c, x, f64_set(C[i]));
    }
    *sine = f64_mul(h, s);
    *cosine = f64_fma(c, x, f64_set(1.0));
}

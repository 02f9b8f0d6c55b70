/* inverse_normal.h - the inverse of the normal distribution function from tail probabilities.
 *
 * Wichura, Algorithm AS 241: The Percentage Points of the Normal Distribution (Applied Statistics 37,
 * 1988), PPND16, with every tail probability given by its logarithm, and Newton's method on the
 * asymptotic series beyond its range. */

#define RATIONAL7(result, x, N, D)                                                                                     \
    do {                                                                                                               \
        f64v n = f64_set((N)[7]), d = f64_set((D)[7]);                                                                 \
        UNROLL                                                                                                         \
        for (int i = 6; i >= 0; i--) {                                                                                 \
            n = f64_fma(n, x, f64_set((N)[i]));                                                                        \
            d = f64_fma(d, x, f64_set((D)[i]));                                                                        \
        }                                                                                                              \
        (result) = f64_div(n, d);                                                                                      \
    } while (0)

/* z with Phi(z) - 1/2 = p, |p| <= 0.425. Odd, so p may round to either side of 0. */
LANE f64v inverse_normal_central(f64v p) {
    static const double N[8] = AS241_A, D[8] = AS241_B;
    f64v x = f64_sub(f64_set(0.180625), f64_mul(p, p)), q;
    RATIONAL7(q, x, N, D);
    return f64_mul(p, q);
}

/* Beyond AS 241: y = -ln Q(z) > 676. z^2 = 2y - ln(4 pi y) + (ln(4 pi y) - 2) / 2y + ..., then one step
 * of Newton's method on -ln Q(z) = z^2/2 + ln z + ln(2 pi)/2 + v - 5/2 v^2 + 37/3 v^3 - 353/4 v^4, v = 1/z^2. */
LANE f64v inverse_normal_far(f64v y) {
    f64v twice = f64_add(y, y);
    f64v l = log_f64(f64_mul(twice, f64_set(TWO_PI)));
    f64v z = f64_sqrt(f64_add(f64_sub(twice, l), f64_div(f64_sub(l, f64_set(2.0)), twice)));
    f64v v = f64_div(f64_set(1.0), f64_mul(z, z));
    f64v series = f64_fma(v, f64_set(-353.0 / 4.0), f64_set(37.0 / 3.0));
    series = f64_fma(series, v, f64_set(-2.5));
    series = f64_mul(f64_fma(series, v, f64_set(1.0)), v);
    f64v rest = f64_add(f64_add(log_f64(z), f64_set(HALF_LN_TWO_PI)), series);
    f64v error = f64_add(f64_fma(f64_mul(z, f64_set(0.5)), z, f64_sub(f64_set(0.0), y)), rest);
    f64v slope = f64_add(z, f64_div(f64_fma(v, f64_set(-2.0), f64_set(1.0)), z)); /* of -ln Q: z + 1/z - 2/z^3 */
    return f64_sub(z, f64_div(error, slope));
}

/* z >= 1.43 with -ln Q(z) = y. */
LANE f64v inverse_normal_tail(f64v y) {
    static const double CN[8] = AS241_C, CD[8] = AS241_D, EN[8] = AS241_E, ED[8] = AS241_F;
    f64v r = f64_sqrt(y), z, far;
    m64 middle = f64_lt(r, f64_set(5.0));
    f64v x = f64_sub(r, f64_set(1.6));
    RATIONAL7(z, x, CN, CD);
    if (!m64_all(middle)) {
        x = f64_sub(r, f64_set(5.0));
        RATIONAL7(far, x, EN, ED);
        z = f64_select(middle, z, far);
        m64 near = f64_lt(r, f64_set(26.0));
        if (!m64_all(near))
            z = f64_select(near, z, inverse_normal_far(y));
    }
    return z;
}

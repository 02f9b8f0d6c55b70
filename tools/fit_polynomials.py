"""Computes the coefficients of src/fastinit/csrc/coefficients.h and prints that file.

    python tools/fit_polynomials.py > src/fastinit/csrc/coefficients.h

Minimax fits by Remez's exchange algorithm in 60-digit arithmetic (mpmath), each coefficient then
rounded to its format. Changing a coefficient changes values:
it is a new stream version (docs/stream.md). Needs mpmath and NumPy; takes about a minute.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 60


def remez(function, weight, low, high, count, rounds=30):
    """Coefficients c with sum c_k x^k minimising max |weight (sum - function)| on [low, high]."""
    low, high = mp.mpf(low), mp.mpf(high)
    grid_size = 60 * count
    points = [(low + high - (high - low) * mp.cos(mp.pi * (2 * i + 1) / (2 * count + 2))) / 2 for i in range(count + 1)]
    for _ in range(rounds):
        system, right = mp.matrix(count + 1, count + 1), mp.matrix(count + 1, 1)
        for i, x in enumerate(points):
            for k in range(count):
                system[i, k] = weight(x) * x**k
            system[i, count] = (-1) ** i
            right[i] = weight(x) * function(x)
        solution = mp.lu_solve(system, right)
        coefficients = [solution[k] for k in range(count)]
        grid = [(low + high - (high - low) * mp.cos(mp.pi * i / grid_size)) / 2 for i in range(grid_size + 1)]
        errors = [(x, weight(x) * (mp.polyval(coefficients[::-1], x) - function(x))) for x in grid]
        peaks = []  # the largest error of each run of equal signs
        for x, e in errors:
            if e == 0:
                continue
            if peaks and mp.sign(peaks[-1][1]) == mp.sign(e):
                if abs(e) > abs(peaks[-1][1]):
                    peaks[-1] = (x, e)
            else:
                peaks.append((x, e))
        while len(peaks) > count + 1:
            peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
        if len(peaks) < count + 1:
            break
        points = [x for x, _ in peaks]
        sizes = [abs(e) for _, e in peaks]
        if max(sizes) < 1.001 * min(sizes):
            break
    return coefficients


def rounded_fit(function, weight, low, high, count, precision):
    """The same with coefficients rounded to `precision` bits.

    The three lowest one by one, lowest first, the others fitted anew each time; then the rest at once (fitting
    them one by one too gains nothing, and the last exchanges no longer converge).
    """
    fixed = []

    def remaining(x):
        return (function(x) - mp.polyval(fixed[::-1], x)) / x ** len(fixed)

    def remaining_weight(x):
        return weight(x) * x ** len(fixed)

    while True:
        rest = remez(remaining, remaining_weight, low, high, count - len(fixed))
        if len(fixed) == 3:
            return fixed + [round_to(c, precision) for c in rest]
        fixed.append(round_to(rest[0], precision))


def round_to(x, precision):
    with mp.workprec(precision):
        return +x


def simply_rounded_fit(function, weight, low, high, count, precision):
    return [round_to(c, precision) for c in remez(function, weight, low, high, count)]


def rational_fit(x, f, weight, degree, rounds=300):
    """P and Q (Q_0 = 1) of `degree` minimising max |weight (P/Q - f)| on the points x, by Lawson's weights."""
    importance, q = np.ones_like(x), np.ones_like(x)
    powers = np.stack([x**k for k in range(degree + 1)], axis=1)
    for _ in range(rounds):
        scale = np.sqrt(importance) * weight / q
        matrix = np.concatenate([powers, -f[:, None] * powers[:, 1:]], axis=1) * scale[:, None]
        norm = np.abs(matrix).max(axis=0)
        solution = np.linalg.lstsq(matrix / norm, f * scale, rcond=None)[0] / norm
        p = powers @ solution[: degree + 1]
        q = 1 + powers[:, 1:] @ solution[degree + 1 :]
        error = np.abs((p / q - f) * weight)
        importance *= error / error.max() + 1e-3
        importance /= importance.max()
    return solution[: degree + 1], np.concatenate([[1.0], solution[degree + 1 :]])


def z_of_tail(s):
    """z with Q(z) = exp(-s^2 / 2), by Newton's method on ln Q."""
    z = s - 1
    for _ in range(12):
        tail = mp.ncdf(-z)
        z += (mp.log(tail) + s * s / 2) * tail / mp.npdf(z)
    return float(z)


def define(name, value, suffix=""):
    print(f"#define {name} {float(value).hex().replace('0000000p', 'p')}{suffix}")


def define_all(prefix, first, values, suffix=""):
    for k, value in enumerate(values):
        define(f"{prefix}{k + first}", value, suffix)


def main():
    print("/* coefficients.h - written by tools/fit_polynomials.py; docs/stream.md says what each is. */")
    print("/* clang-format off */")

    def log_rest(f):  # -2 ln(1 + f) = f (-2 + f log_rest(f))
        return mp.mpf(1) if abs(f) < 1e-25 else (2 - 2 * mp.log1p(f) / f) / f

    third = mp.mpf(1) / 3
    define_all(
        "LOG32_Q",
        1,
        simply_rounded_fit(
            log_rest, lambda f: mp.mpf(0) if abs(f) < 1e-25 else f * f / (2 * abs(mp.log1p(f))), -third, third, 8, 24
        ),
        "f",
    )
    define("LOG32_E", round_to(-2 * mp.log(2), 24) * mp.mpf(2) ** -23, "f")

    def sine(x):  # sin(pi h) / h, x = h^2
        return mp.pi if x < 1e-40 else mp.sin(mp.pi * mp.sqrt(x)) / mp.sqrt(x)

    def cosine(x):  # (cos(pi h) - 1) / h^2
        return -(mp.pi**2) / 2 if x < 1e-40 else (mp.cos(mp.pi * mp.sqrt(x)) - 1) / x

    tiny, quarter = mp.mpf(2) ** -40, mp.mpf(1) / 4  # fits leave out 0, where the rounded ones divide by x
    for bits, count, precision, suffix in ((32, 5, 24, "f"), (64, 9, 53, "")):
        define_all(
            f"SIN{bits}_",
            0,
            rounded_fit(sine, lambda x: mp.sqrt(x) + mp.mpf("1e-3"), tiny, quarter, count, precision),
            suffix,
        )
        define_all(
            f"COS{bits}_", 1, rounded_fit(cosine, lambda x: x + mp.mpf("1e-6"), tiny, quarter, count, precision), suffix
        )

    # p = Phi(z) - 1/2 in [0, Phi(2) - 1/2], z = p P(v) / Q(v), v = end - p^2
    end = float(np.float32((mp.erf(mp.sqrt(2)) / 2) ** 2))
    v = end * (1 - np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)) / 2
    p = np.sqrt(end - v)
    with mp.workdps(25):
        z = np.array([float(mp.sqrt(2) * mp.erfinv(2 * mp.mpf(x))) for x in p])
    numerator, denominator = rational_fit(v, z / p, p + 1e-3, 4)
    define("CUT32_END", end, "f")
    define_all("CUT32_N", 0, np.float32(numerator), "f")
    define_all("CUT32_D", 1, np.float32(denominator[1:]), "f")

    # tail probability Q(z) = exp(-s^2 / 2), x = s - start with Q(start) = 1/2, z = x P(x) / Q(x)
    start = float(np.float32(mp.sqrt(2 * mp.log(2))))
    x = 6.6 * (1 - np.cos(np.pi * (np.arange(1500) + 0.5) / 1500)) / 2
    with mp.workdps(25):
        z = np.array([z_of_tail(mp.mpf(start) + mp.mpf(t)) for t in x])
    numerator, denominator = rational_fit(x, z / x, x / np.maximum(z, 1), 3)
    define("TAIL32_START", start, "f")
    define_all("TAIL32_N", 0, np.float32(numerator), "f")
    define_all("TAIL32_D", 1, np.float32(denominator[1:]), "f")

    print("/* FreeBSD e_log.c */")
    define_all(
        "LOG64_",
        1,
        [
            6.666666666666735130e-01,
            3.999999999940941908e-01,
            2.857142874366239149e-01,
            2.222219843214978396e-01,
            1.818357216161805012e-01,
            1.531383769920937332e-01,
            1.479819860511658591e-01,
        ],
    )
    define("LN2_HIGH", 6.93147180369123816490e-01)
    define("LN2_LOW", 1.90821492927058770002e-10)
    define("LN2", mp.log(2))
    define("TWO_PI", 2 * mp.pi)
    define("HALF_LN_TWO_PI", mp.log(2 * mp.pi) / 2)
    print("/* AS 241, PPND16 */")
    for name, values in AS241.items():
        print(f"#define AS241_{name} \\\n    {{" + ", ".join(float(v).hex() for v in values.split()) + "}")


AS241 = {
    "A": "3.3871328727963666080e0 1.3314166789178437745e+2 1.9715909503065514427e+3 1.3731693765509461125e+4 "
    "4.5921953931549871457e+4 6.7265770927008700853e+4 3.3430575583588128105e+4 2.5090809287301226727e+3",
    "B": "1 4.2313330701600911252e+1 6.8718700749205790830e+2 5.3941960214247511077e+3 "
    "2.1213794301586595867e+4 3.9307895800092710610e+4 2.8729085735721942674e+4 5.2264952788528545610e+3",
    "C": "1.42343711074968357734e0 4.63033784615654529590e0 5.76949722146069140550e0 3.64784832476320460504e0 "
    "1.27045825245236838258e0 2.41780725177450611770e-1 2.27238449892691845833e-2 7.74545014278341407640e-4",
    "D": "1 2.05319162663775882187e0 1.67638483018380384940e0 6.89767334985100004550e-1 "
    "1.48103976427480074590e-1 1.51986665636164571966e-2 5.47593808499534494600e-4 1.05075007164441684324e-9",
    "E": "6.65790464350110377720e0 5.46378491116411436990e0 1.78482653991729133580e0 2.96560571828504891230e-1 "
    "2.65321895265761230930e-2 1.24266094738807843860e-3 2.71155556874348757815e-5 2.01033439929228813265e-7",
    "F": "1 5.99832206555887937690e-1 1.36929880922735805310e-1 1.48753612908506148525e-2 "
    "7.86869131145613259100e-4 1.84631831751005468180e-5 1.42151175831644588870e-7 2.04426310338993978564e-15",
}

if __name__ == "__main__":
    main()

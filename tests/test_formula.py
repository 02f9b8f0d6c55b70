"""Numbers in manifests that are texts: what they compute, and what is refused, in bounded time and memory."""

import contextlib
import math
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastinit.checkpoint.formula import DEEPEST, LONGEST, Formula, Tensor, power

TENSOR = Tensor((6, 8), {"fan_in": 8, "fan_out": 6, "layer": 3, "expert": 200})


def compute(text, tensor=TENSOR):
    return Formula("std", text, ["layer", "expert"]).value(tensor)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.02 / sqrt(2 * 22)", 0.02 / math.sqrt(44)),
        ("-1 / sqrt(shape[0])", -1 / math.sqrt(6)),
        ("shape[-1] - shape[ - 2 ]", 2.0),
        ("0.02 / sqrt(2 * (layer + 1))", 0.02 / math.sqrt(8)),
        ("sqrt(2 / (fan_in + fan_out))", math.sqrt(2 / 14)),
        ("min(1, 2, layer)", 1.0),
        ("max(1, min(layer, expert))", 3.0),
        ("1 - 2 - 3", -4.0),
        ("12 / 2 / 3", 2.0),
        ("12 / 2 * 3", 18.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-2 ** 2", -4.0),
        ("(-2) ** 2", 4.0),
        ("2 ** 3 ** 2", 512.0),
        ("2 ** -1", 0.5),
        ("10 ** -3", 0.001),
        ("0.5 ** layer", 0.125),
        ("0 ** 0", 1.0),
        ("- - + 3", 3.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.5E+2", 150.0),
        ("0.1 + 0.2", 0.1 + 0.2),
        (" \t\n 1 \r\n + 2 ", 3.0),
        ("4.9e-324", 5e-324),
    ],
)
def test_values(text, value):
    got = compute(text)
    assert (got, math.copysign(1, got)) == (value, math.copysign(1, value))


def test_a_negative_zero_stays_one():
    assert str(compute("-0.0")) == "-0.0"
    assert str(compute("0 * -1")) == "-0.0"


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "a number is expected here, not the end"),
        ("   ", 4, "a number is expected here, not the end"),
        ("0.02 / sqr(2)", 8, "unknown function 'sqr'; did you mean 'sqrt'?"),
        ("layr + 1", 1, "unknown word 'layr'; did you mean 'layer'?"),
        ("fan_inn", 1, "did you mean 'fan_in'?"),
        ("shape", 6, "shape needs an axis, such as shape[0]"),
        ("shape[layer]", 7, "an axis is an integer"),
        ("shape[0.5]", 7, "an axis is an integer"),
        ("shape[0", 8, "']' is expected here, not the end"),
        ("1 + shape[2]", 5, "shape (6, 8) has no axis 2"),
        ("shape[-3]", 1, "shape (6, 8) has no axis -3"),
        ("shape[" + "9" * 190 + "]", 1, "has no axis"),
        ("sqrt 2", 6, "'(' is expected here, not '2'"),
        ("sqrt(1, 2)", 1, "sqrt takes one number, not 2"),
        ("sqrt()", 6, "a number is expected here, not ')'"),
        ("min(1)", 1, "min takes two numbers or more"),
        ("max(1,)", 7, "a number is expected here, not ')'"),
        ("(1 + 2", 7, "')' is expected here, not the end"),
        ("1 + 2)", 6, "an operator is expected here, not ')'"),
        ("1 2", 3, "an operator is expected here, not '2'"),
        ("2x", 2, "an operator is expected here, not 'x'"),
        ("0x10", 2, "an operator is expected here, not 'x10'"),
        ("1_000", 2, "an operator is expected here, not '_000'"),
        ("1.2.3", 4, "an operator is expected here, not '.3'"),
        ("7 // 2", 4, "a number is expected here, not '/'"),
        ("7 % 2", 3, "'%' means nothing in a formula"),
        ("layer.real", 6, "'.' means nothing in a formula"),
        ("2 ^ 3", 3, "'^' means nothing in a formula"),
        ("(lambda: 1)()", 8, "':' means nothing in a formula"),
        ("__import__('os')", 12, "means nothing in a formula"),
        ("1 if 2 else 3", 3, "an operator is expected here, not 'if'"),
        ("٣", 1, "means nothing in a formula"),
        ("ﬁ", 1, "means nothing in a formula"),
        ("1\0", 2, "means nothing in a formula"),
        ("inf", 1, "unknown word 'inf'"),
        ("1 / 0", 3, "division by zero"),
        ("1 / (layer - 3)", 3, "division by zero"),
        ("0 ** -1", 3, "division by zero"),
        ("sqrt(0 - 1)", 1, "the square root of a negative number, -1"),
        ("2 ** 0.5", 3, "an exponent must be an integer, not 0.5; for a root there is sqrt"),
        ("2 ** (1 / layer)", 3, "an exponent must be an integer"),
        ("2 ** 1024", 3, "the result is beyond float64"),
        ("10 ** 10 ** 10", 4, "the result is beyond float64"),
        ("9 ** -1e300", 3, "the result is beyond float64"),
        ("2 ** -1074", 3, "the result is beyond float64"),  # it is 1 / 2 ** 1074
        ("1e400", 1, "the result is beyond float64"),
        ("1e308 * 10", 7, "the result is beyond float64"),
        ("1e308 + 1e308", 7, "the result is beyond float64"),
    ],
)
def test_mistakes_say_where(text, column, words):
    with pytest.raises(ValueError, match=f"column {column}: ") as caught:
        compute(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("std = ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1200


def test_a_long_text_is_shown_around_the_mistake():
    with pytest.raises(ValueError, match="column 82") as caught:
        compute("1 + " * 20 + " %" + " + 1" * 20)
    shown = "+ 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 +  % + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1"
    assert str(caught.value) == f"std = '...{shown}...', column 82: '%' means nothing in a formula"


def test_any_range_goes_where_the_name_that_has_them_is_wrong():
    assert Formula("std", "a + b", None).asks == {"a", "b"}
    assert Formula("std", "1 + 2", ()).asks == set()
    assert Formula("std", "shape[0] / fan_in + max(layer, 1)", ["layer"]).asks == {"shape", "fan_in", "layer"}


# ---- hostile texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1" * 10**6,
        "1 + " * 250_000 + "1",
        "(" * 10**5 + "1" + ")" * 10**5,
        "-" * 10**6 + "1",
        "2 ** " * 10**5 + "2",
        "sqrt(" * 10**5,
        " " * 10**6,
        "(" * 99 + "1" + ")" * 99,
        "-" * 199 + "1",
        "2**" * 60 + "2",
        "sqrt(" * 30 + "1" + ")" * 20,
        "min(1," * 33,
        "[" * 200,
        "shape[" * 33,
        "9" * 200 + "9",
        "1e" + "9" * 190,
        "9" * 90 + " ** " + "9" * 90,
        "0 ** -" + "9" * 190,
        "a" * 200,
    ],
)
def test_hostile_texts_are_refused_at_once(text):
    """No recursion by their nesting, no big integers, no memory by their length."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^std") as caught:
            compute(text)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1" + "+1" * 99, 100.0),
        ("1" + "-1" * 99, -98.0),
        ("(" * (DEEPEST - 1) + "1" + ")" * (DEEPEST - 1), 1.0),
        ("-" * (DEEPEST - 1) + "1", -1.0),
        ("max(" + "1," * 97 + "2)", 2.0),
        ("1 ** " + "9" * 190, 1.0),
        ("0.5 ** 1e300", 0.0),
        ("(-1) ** 9007199254740993", 1.0),  # the exponent is float64, too: ...992
    ],
)
def test_long_texts_that_are_fine(text, value):
    assert len(text) <= LONGEST
    assert compute(text) == value


WORDS = ["layer", "fan_in", "shape", "shape[0]", "sqrt", "min", "max", "(", ")", "[", "]", ",", "+", "-", "*", "/", "**", "1", "0", "2.5", "1e300", " ", ".", "%", "é", "e"]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=30).map("".join), st.text(max_size=30)))
def test_any_text_is_a_finite_number_or_one_line(text):
    try:
        assert math.isfinite(compute(text))
    except ValueError as error:
        assert str(error).startswith("std = ")  # noqa: PT017
        assert len(str(error).splitlines()) == 1  # noqa: PT017


# ---- against Python's own arithmetic -------------------------------------------------------------------------------


class Undefined(Exception):
    """No finite number."""


def leaf(text, value):
    return text, lambda: float(value)


def sign(operand):
    text, value = operand
    return f"-({text})", lambda: -value()


def binary(operands_and_operator):
    (left, x), (right, y), operator = operands_and_operator
    return f"({left}) {operator} ({right})", lambda: {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }[operator](x(), y())


def called(function_and_operands):
    function, operands = function_and_operands
    text = f"{function}({', '.join(text for text, _ in operands)})"
    if function == "sqrt":
        return text, lambda: math.sqrt(operands[0][1]())
    return text, lambda: {"min": min, "max": max}[function]([value() for _, value in operands])


def raised(operand_and_exponent):
    """A small power, as products of float64 in the order that docs/checkpoint.md states."""
    (text, x), n = operand_and_exponent

    def value():
        base = x()
        powers = {0: [], 1: [base], 2: [base * base], 3: [base, base * base], 4: [base * base * (base * base)]}
        product = 1.0
        for factor in powers[abs(n)]:
            product *= factor
        if math.isinf(product):
            raise Undefined
        return product if n >= 0 else 1.0 / product

    return f"({text}) ** {n}", value


LEAVES = st.one_of(
    st.floats(0, 1e3).map(lambda x: leaf(repr(x), x)),
    st.floats(0, 1.7e308).map(lambda x: leaf(repr(x), x)),
    st.integers(0, 10**20).map(lambda n: leaf(str(n), n)),
    st.sampled_from([leaf("layer", 3), leaf("fan_in", 8), leaf("shape[0]", 6), leaf("shape[-1]", 8)]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(sign),
        st.tuples(inner, inner, st.sampled_from("+-*/")).map(binary),
        st.tuples(st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=4)).map(called),
        st.tuples(st.just("sqrt"), inner.map(lambda tree: [tree])).map(called),
        st.tuples(inner, st.integers(-4, 4)).map(raised),
    ),
    max_leaves=12,
)


@settings(max_examples=1000, deadline=None)
@given(TREES)
def test_trees_have_the_values_of_pythons_float64(tree):
    text, value = tree
    expected = None
    with contextlib.suppress(ArithmeticError, ValueError, Undefined):
        expected = value()
    try:
        got = compute(text)
    except ValueError as error:
        assert any(words in str(error) for words in ("letters", "beyond", "zero", "negative", "deeper"))  # noqa: PT017
        return  # an infinity on the way, which Python goes on with
    assert expected is not None
    assert got.hex() == expected.hex()


FLAT = st.lists(st.tuples(st.sampled_from(["+", "-", "*", "/", "**"]), st.sampled_from(["", "-", "- -"]), st.integers(0, 3)), max_size=8)  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(["", "-"]), st.integers(0, 3), FLAT)
def test_precedence_is_pythons(sign, first, rest):
    """Of small integers, where a power is exact however it is made."""
    text = f"{sign}{first}" + "".join(f" {operator} {signs}{number}" for operator, signs, number in rest)
    floats = f"{sign}{float(first)}" + "".join(
        f" {operator} {signs}{float(number)}" for operator, signs, number in rest
    )
    try:
        got = compute(text)
    except ValueError:
        return  # 0 ** -1, exponents that are no integers, infinities
    expected = eval(floats)
    assert got == pytest.approx(expected, rel=1e-14, abs=1e-300)


@settings(max_examples=500, deadline=None)
@given(st.floats(-1e3, 1e3), st.integers(-60, 60))
def test_powers_are_close_to_the_exact_ones(x, n):
    """One rounding in each of at most two products for each bit of n."""
    if x == 0 or not 2.0**-900 < abs(Fraction(x) ** n) < 2.0**900 or not abs(Fraction(x)) ** abs(n) > 2.0**-900:
        return
    exact = Fraction(x) ** n
    assert abs(Fraction(power(x, n)) - exact) <= abs(exact) * 130 * Fraction(2) ** -53


def test_powers_are_products_in_the_stated_order():
    x = 1.1
    assert power(x, 3) == x * (x * x)
    assert power(x, 5) == x * ((x * x) * (x * x))
    assert power(x, 6) == (x * x) * ((x * x) * (x * x))
    assert power(x, 13) == (x * ((x * x) * (x * x))) * (((x * x) * (x * x)) * ((x * x) * (x * x)))
    assert power(x, -5) == 1 / power(x, 5)
    left_to_right = x * x * x * x * x * x * x * x * x * x * x * x * x
    assert power(x, 13) != left_to_right, "the witness tells no orders apart"


def test_lengths_and_fans_beyond_float64_are_rounded_once():
    tensor = Tensor((2**53 + 1, 2**61 + 2**8 + 1), {"fan_in": 2**61 + 2**8 + 1})
    assert compute("shape[0]", tensor) == float(2**53)
    assert compute("fan_in", tensor) == compute("shape[1]", tensor) == float(2**61 + 2**9)

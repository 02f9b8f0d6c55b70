"""A number in a manifest that is a text: ``0.02 / sqrt(2 * (layer + 1))``.

A formula is parsed once and computed for each tensor. It has numbers, ``+ - * /``, ``**`` with an integer exponent,
parentheses, ``sqrt(x)``, ``min(x, y, ...)``, ``max(x, y, ...)``, ``shape[k]``, ``fan_in``, ``fan_out`` and the named
ranges of the tensor's name. Precedence is Python's.

Every step is one float64 operation that IEEE-754 rounds to nearest, so the result is the same on every machine. A power
is made of products (see `power`), because the C library's ``pow`` differs from one machine to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, NoReturn

from .._kernels import DefaultFloatEnvironment
from ..wording import near_match

#: Letters of a formula, and how deep its parentheses, signs and powers may be nested. A million tensors with the
#: longest formula take less than a minute.
LONGEST, DEEPEST = 200, 50

FANS = frozenset({"fan_in", "fan_out"})
_FUNCTIONS = ("sqrt", "min", "max")
#: The words that a named range cannot have as its name.
RESERVED = (*_FUNCTIONS, "shape", *sorted(FANS))

_TOKEN = re.compile(
    r"""(?P<number> (?: [0-9]+ \.? [0-9]* | \. [0-9]+ ) (?: [eE] [+-]? [0-9]+ )? )
    | (?P<word> [A-Za-z_] [A-Za-z0-9_]* )
    | (?P<sign> \*\* | [-+*/()\[\],] )
    | (?P<space> [ \t\r\n]+ )""",
    re.VERBOSE,
)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


class Tensor(NamedTuple):
    """What a formula may ask for: the shape, and numbers by name (fans and ranges)."""

    shape: tuple[int, ...]
    numbers: Mapping[str, int]


class _Token(NamedTuple):
    kind: str
    text: str
    place: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


class _Step(NamedTuple):
    """One operation of a formula in postfix order: it takes that many of the last results and leaves its own."""

    place: int
    takes: int
    compute: Callable[..., float]


class Formula:
    """A parsed formula.

    Parameters
    ----------
    key : str
        The parameter whose value the formula is; for messages.
    text : str
        The formula.
    ranges : collection of str or None
        Names of the ranges that the formula may use; None allows any, where the name that has them is itself wrong.
    hint : str, optional
        What the message about an unknown word says in the end.

    Raises
    ------
    ValueError
        With the column of the first mistake.

    Attributes
    ----------
    asks : set of str
        What it needs to know of a tensor: ``"shape"``, ``"fan_in"``, ``"fan_out"``, names of ranges.
    """

    def __init__(self, key: str, text: str, ranges: Collection[str] | None, hint: str = "") -> None:
        self._key, self._text, self._ranges, self._hint = key, text, ranges, hint
        self._steps: list[_Step] = []
        self.asks: set[str] = set()
        if len(text) > LONGEST:
            raise ValueError(f"{key}: a formula has at most {LONGEST} letters, not {len(text)}")
        self._tokens = self._read()
        self._position = self._depth = 0
        with DefaultFloatEnvironment():
            self._operators(1)
        if self._next.kind != "end":
            self._refuse(self._next.place, f"an operator is expected here, not {self._next}")

    def value(self, tensor: Tensor) -> float:
        """The number for that tensor; ValueError where there is none, as for a division by zero."""
        results: list[float] = []
        with DefaultFloatEnvironment():
            for place, takes, compute in self._steps:
                first = len(results) - takes
                try:
                    result = compute(tensor, *results[first:])
                except ArithmeticError as error:
                    self._refuse(place, str(error))
                if not math.isfinite(result):
                    self._refuse(place, "the result is beyond float64")
                results[first:] = [result]
        return results[0]

    # ---- grammar: each method reads what it is named after and leaves its steps -----------------------------------

    def _operators(self, least: int) -> None:
        """Operands joined by operators of a precedence of at least that, from left to right."""
        self._operand()
        while _PRECEDENCE.get(self._next.text, 0) >= least:
            token = self._take()
            self._operators(_PRECEDENCE[token.text] + 1)
            self._leave(token.place, 2, _OPERATORS[token.text])

    def _operand(self) -> None:
        """An atom, perhaps with signs before it and an exponent after it: ``-x ** 2`` is ``-(x ** 2)``."""
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(self._next.place, f"nested deeper than {DEEPEST}")
        if self._next.text in ("+", "-"):
            token = self._take()
            self._operand()
            if token.text == "-":
                self._leave(token.place, 1, lambda _, x: -x)
        else:
            self._atom()
            if self._next.text == "**":
                token = self._take()
                self._operand()
                self._leave(token.place, 2, lambda _, x, exponent: power(x, exponent))
        self._depth -= 1

    def _atom(self) -> None:
        token = self._take()
        if token.kind == "number":
            number = float(token.text)
            self._leave(token.place, 0, lambda _: number)
        elif token.text == "(":
            self._operators(1)
            self._expect(")")
        elif token.text == "shape":
            self._axis(token)
        elif token.text in _FUNCTIONS:
            self._call(token)
        elif token.kind == "word":
            self._word(token)
        else:
            self._refuse(token.place, f"a number is expected here, not {token}")

    def _axis(self, word: _Token) -> None:
        self._expect("[", "shape needs an axis, such as shape[0]")
        sign = self._take().text if self._next.text == "-" else ""
        token = self._take()
        if not token.text.isdecimal():
            self._refuse(token.place, f"an axis is an integer, such as shape[0], not {token}")
        self._expect("]")
        self.asks.add("shape")
        axis = int(sign + token.text)
        self._leave(word.place, 0, lambda tensor: _length(tensor.shape, axis))

    def _call(self, function: _Token) -> None:
        self._expect("(")
        count = 0
        while not count or self._next.text == ",":
            if count:
                self._take()
            self._operators(1)
            count += 1
        self._expect(")")
        if function.text == "sqrt":
            if count != 1:
                self._refuse(function.place, f"sqrt takes one number, not {count}")
            self._leave(function.place, 1, lambda _, x: _root(x))
        elif count < 2:
            self._refuse(function.place, f"{function.text} takes two numbers or more")
        else:
            choose = min if function.text == "min" else max
            self._leave(function.place, count, lambda _, *numbers: choose(numbers))

    def _word(self, token: _Token) -> None:
        word = token.text
        if self._next.text == "(":
            self._refuse(token.place, f"unknown function {word!r}; {near_match(word, _FUNCTIONS)}")
        if word not in FANS and self._ranges is not None and word not in self._ranges:
            known = [*RESERVED, *sorted(self._ranges)]
            self._refuse(token.place, f"unknown word {word!r}; {near_match(word, known)}{self._hint}")
        self.asks.add(word)
        self._leave(token.place, 0, lambda tensor: float(tensor.numbers[word]))

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def _read(self) -> list[_Token]:
        tokens = []
        position = 0
        while position < len(self._text):
            found = _TOKEN.match(self._text, position)
            if found is None:
                self._refuse(position + 1, f"{self._text[position]!r} means nothing in a formula")
            if found.lastgroup != "space":
                tokens.append(_Token(str(found.lastgroup), found[0], position + 1))
            position = found.end()
        return [*tokens, _Token("end", "", position + 1)]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _take(self) -> _Token:
        token = self._next
        self._position += token.kind != "end"
        return token

    def _expect(self, sign: str, otherwise: str = "") -> None:
        token = self._take()
        if token.text != sign:
            self._refuse(token.place, otherwise or f"{sign!r} is expected here, not {token}")

    def _leave(self, place: int, takes: int, compute: Callable[..., float]) -> None:
        self._steps.append(_Step(place, takes, compute))

    def _refuse(self, place: int, why: str) -> NoReturn:
        text = self._text
        if len(text) > 80:  # what is around the place
            first = max(place - 40, 0)
            text = ("..." if first else "") + text[first : place + 40] + ("..." if place + 40 < len(text) else "")
        raise ValueError(f"{self._key} = {text!r}, column {place}: {why}")


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def power(x: float, exponent: float) -> float:
    """`x` to an integer power, by products alone.

    The squares x, x^2, x^4, ... whose bits are set in the exponent are multiplied in this order, starting from 1;
    a negative power is 1 divided by the positive one.
    """
    if exponent != int(exponent):
        raise ArithmeticError(f"an exponent must be an integer, not {exponent}; for a root there is sqrt")
    left, square, product = abs(int(exponent)), x, 1.0
    while left:
        if left & 1:
            product *= square
        left >>= 1
        if left:
            square *= square
    if exponent >= 0:
        return product
    if math.isinf(product):
        raise ArithmeticError("the result is beyond float64")
    return _quotient(1.0, product)


def _quotient(x: float, y: float) -> float:
    if y == 0:
        raise ArithmeticError("division by zero")
    return x / y


def _root(x: float) -> float:
    if x < 0:
        raise ArithmeticError(f"the square root of a negative number, {x:.6g}")
    return math.sqrt(x)


def _length(shape: tuple[int, ...], axis: int) -> float:
    if not -len(shape) <= axis < len(shape):
        raise ArithmeticError(f"shape {shape} has no axis {axis}")
    return float(shape[axis])


_OPERATORS: dict[str, Callable[[Tensor, float, float], float]] = {
    "+": lambda _, x, y: x + y,
    "-": lambda _, x, y: x - y,
    "*": lambda _, x, y: x * y,
    "/": lambda _, x, y: _quotient(x, y),
}

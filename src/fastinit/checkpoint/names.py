"""Names with braces: what they stand for, counted before they are made."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..wording import near_match
from .formula import RESERVED

#: More tensors than this, or more letters in all their names, can only be a mistake in a brace.
MOST_TENSORS = 1_000_000
LONGEST_NAMES = 100_000_000

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(?:([A-Za-z_][A-Za-z0-9_]*):)?([0-9]{1,9})\.\.([0-9]{1,9})")
_INSERTED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAMED_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*:[^:]*")


class Names:
    """The names of all tables of a manifest, and how many more there may be."""

    def __init__(self) -> None:
        self._room, self._count = LONGEST_NAMES, 0

    @property
    def too_many(self) -> bool:
        """Whether there were too many tensors; the mistake has been noted already."""
        return self._count > MOST_TENSORS

    def family(self, name: str, times: int = 1) -> Family:
        """What a name with braces stands for, each of its names counted `times` times.

        ValueError where the braces are wrong or the names too many.
        """
        family = Family(name, self._room // times)
        self._room -= family.letters * times
        self._count += family.count * times
        if self.too_many:
            raise ValueError(f"there are more than {MOST_TENSORS} tensors by now")
        return family


class Family:
    """Every name that braces stand for: ``{0..21}`` with both ends, ``{00..21}`` of that width, ``{q,k,v}``.

    A range may have a name of its own, ``{layer:0..21}``: formulas know its numbers by that.

    ValueError for other braces, for more names than any model has, and for names of more than `room` letters.
    """

    def __init__(self, name: str, room: int = LONGEST_NAMES) -> None:
        self._texts = _BRACE.split(name)
        if any(mark in text for text in self._texts[::2] for mark in "{}"):
            raise ValueError(f"name {name!r} has a brace without its other half, or one within another")
        self._choices: list[_Choice] = []
        self.count = 1
        for text in self._texts[1::2]:
            self._choices.append(_choice(text))
            self.count *= len(self._choices[-1].words)
            if self.count > MOST_TENSORS:
                raise ValueError(f"name {name!r} stands for more than {MOST_TENSORS} tensors")
        #: Names of the ranges that have one.
        self.ranges = [choice.name for choice in self._choices if choice.name]
        #: Names of those of more than one word; "" for any without a name.
        self.varying = frozenset(choice.name for choice in self._choices if len(choice.words) > 1)
        if len(set(self.ranges)) < len(self.ranges):
            raise ValueError(f"name {name!r} has two ranges of one name")
        words = sum(self.count // len(choice.words) * sum(map(len, choice.words)) for choice in self._choices)
        #: Letters of all names together.
        self.letters = self.count * sum(map(len, self._texts[::2])) + words
        if self.letters > room:
            limit = f"names of more than {LONGEST_NAMES} letters, with those before"
            raise ValueError(f"name {name[:80]!r} stands for {limit}")

    def names(self) -> list[str]:
        """All names, the last brace running fastest."""
        first, rest = self._texts[0], self._texts[2::2]
        return [
            first + "".join(word + after for word, after in zip(words, rest))
            for words in itertools.product(*(choice.words for choice in self._choices))
        ]

    def words(self) -> Iterator[dict[str, str]]:
        """For each of `names`, in their order, what stands there for the named ranges."""
        named = [choice for choice in self._choices if choice.name]
        if not named:
            return itertools.repeat({}, self.count)
        kept = [position for position, choice in enumerate(self._choices) if choice.name]
        return (
            {choice.name: words[position] for choice, position in zip(named, kept)}
            for words in itertools.product(*(choice.words for choice in self._choices))
        )


def numbers_of(words: Mapping[str, str]) -> dict[str, int]:
    """The numbers of named ranges, by what stands in a name for them."""
    return {name: int(word) for name, word in words.items()}


class _Choice(NamedTuple):
    """What stands in a brace: its words, and the name of a range that has one."""

    name: str
    words: list[str]


def expand(name: str, room: int = LONGEST_NAMES) -> list[str]:
    """The names of a `Family`."""
    return Family(name, room).names()


def inserted(name: str, words: Mapping[str, str]) -> str:
    """A name in which braces around a word alone, ``{layer}``, are what `words` has for it; ValueError for others."""

    def word(found: re.Match[str]) -> str:
        if found[1] not in words:
            hint = near_match(found[1], words) if words else "there are none"
            raise ValueError(f"name {name!r} has {found[0]}, which is no named range of a table around it; {hint}")
        return words[found[1]]

    return _INSERTED.sub(word, name)


def _choice(text: str) -> _Choice:
    found = _RANGE.fullmatch(text)
    if found:
        name = found[1] or ""
        if name in RESERVED:
            raise ValueError(f"{{{text}}}: a range cannot be called {name!r}, which formulas know as something else")
        first, last = int(found[2]), int(found[3])
        if first > last:
            raise ValueError(f"{{{text}}} counts down")
        if last - first >= MOST_TENSORS:
            raise ValueError(f"{{{text}}} stands for more than {MOST_TENSORS} tensors")
        width = len(found[2]) if found[2].startswith("0") and len(found[2]) > 1 else 0
        return _Choice(name, [f"{number:0{width}d}" for number in range(first, last + 1)])
    words = text.split(",")
    if len(words) < 2 or not all(words):
        raise ValueError(f"{{{text}}} is neither a range like {{0..21}} or {{layer:0..21}} nor a list like {{q,k,v}}")
    if _NAMED_WORDS.fullmatch(text):
        raise ValueError(f"{{{text}}} gives a name to words, which only a range like {{layer:0..21}} can have")
    return _Choice("", words)

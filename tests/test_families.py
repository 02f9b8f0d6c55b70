"""Names that differ in numbers alone, folded: what ranges stand for are the names again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fastinit import families
from fastinit.checkpoint.names import expand
from fastinit.families import fold


def folded(*names, what="same"):
    return [name for name, _ in fold([(name, what) for name in names])]


def test_layers_and_experts():
    layers = [f"layers.{i}.experts.{k}.{part}" for i in range(12) for k in range(3) for part in ("up", "down")]
    assert folded("emb", *layers, "head.2") == [
        "emb", "layers.{0..11}.experts.{0..2}.up", "layers.{0..11}.experts.{0..2}.down", "head.2",
    ]  # fmt: skip


def test_what_differs_in_more_than_numbers_stays_apart():
    assert fold([("l.0.w", 1), ("l.1.w", 2), ("l.2.w", 1), ("l.3.w", 1)]) == [
        ("l.0.w", [0]), ("l.1.w", [1]), ("l.{2..3}.w", [2, 3]),
    ]  # fmt: skip
    assert folded("a.0", "b.1") == ["a.0", "b.1"]


def test_gaps_and_missing_combinations():
    assert folded("w0", "w1", "w2", "w7", "w9", "w10") == ["w{0..2}", "w7", "w{9..10}"]
    assert folded("a.0.0", "a.0.1", "a.1.0") == ["a.0.{0..1}", "a.1.0"]


def test_leading_zeros():
    assert folded(*(f"s-{i:02}" for i in range(9, 12))) == ["s-{09..11}"]
    assert folded("s-1", "s-01", "s-2") == ["s-{1..2}", "s-01"]


def test_a_name_with_braces_is_left_alone():
    assert folded("{0..1}") == ["{0..1}"]


def rows(*named):
    """Rows of (name, values) that are all the same otherwise."""
    return [name for name, _ in fold([(name, "same") for name, _ in named], [values for _, values in named])]


def test_values_that_run_with_a_number_are_a_row():
    layers = range(12)
    assert rows(*((f"l.{i}.w", (0.02 / (i + 1),)) for i in layers)) == ["l.{0..11}.w"]
    assert rows(*((f"l.{i}.w", (i * i, 7.0, -i)) for i in layers)) == ["l.{0..11}.w"]
    experts = [(f"l.{i}.e.{k}.{part}", (i * 1.5,)) for i in layers for k in range(4) for part in ("up", "down")]
    assert rows(*experts) == ["l.{0..11}.e.{0..3}.up", "l.{0..11}.e.{0..3}.down"]
    both = [(f"l.{i}.e.{k}", (i + 100.0 * k,)) for i in range(4) for k in range(3)]
    assert rows(*both) == ["l.{0..3}.e.0", "l.{0..3}.e.1", "l.{0..3}.e.2"], "a second number would hide what is between"


def test_the_first_member_has_the_first_value():
    ((name, members),) = fold([(f"w{i}", 0) for i in (3, 1, 2, 10, 4, 5, 6, 7, 8, 9)], [(float(i),) for i in (3, 1, 2, 10, 4, 5, 6, 7, 8, 9)])  # fmt: skip
    assert (name, members) == ("w{1..10}", [1, 2, 0, 4, 5, 6, 7, 8, 9, 3])


def test_values_that_do_not_run_stay_apart():
    def of(*stds):
        return rows(*((f"w{i}", (std,)) for i, std in enumerate(stds)))

    assert of(1.0, 2.0) == ["w0", "w1"]  # two numbers always rise or fall
    assert of(1.0, 2.0, 1.5) == ["w0", "w1", "w2"]
    assert of(1.0, 1.0, 2.0, 2.0) == ["w{0..1}", "w{2..3}"]  # a step would not be seen
    assert of(1.0, 1.0, 2.0, 3.0) == ["w{0..1}", "w2", "w3"]
    assert of(float("nan"), float("nan"), float("nan")) == ["w{0..2}"]
    assert of(float("nan"), 1.0, float("nan")) == ["w0", "w1", "w2"]
    assert of(0.0, -0.0, 0.0) == ["w0", "w1", "w2"]
    assert rows(("w0", (1.0,)), ("w1", (2.0,)), ("w3", (3.0,))) == ["w0", "w1", "w3"]  # a gap


NAMES = st.from_regex(r"[ab]\.[0-9]{1,2}(\.[0-9]{1,2})?(\.w)?", fullmatch=True)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(NAMES, st.integers(0, 1)), unique_by=lambda named: named[0], max_size=60))
def test_ranges_stand_for_the_names(named):
    families = fold(named)
    assert sorted(position for _, members in families for position in members) == list(range(len(named)))
    for name, members in families:
        assert sorted(expand(name)) == sorted(named[position][0] for position in members)
        assert len({named[position][1] for position in members}) == 1
    assert [members[0] for _, members in families] == sorted(members[0] for _, members in families)


def test_names_of_very_many_numbers_take_a_few_tries(monkeypatch):
    """Not as many as there are numbers, each of which looks at all of them."""
    tries, joined_by = [], families._joined_by
    monkeypatch.setattr(families, "_joined_by", lambda *arguments: tries.append(0) or joined_by(*arguments))
    assert rows(*((f"{i}a" * 2000, (float(i),)) for i in range(4))) == [f"{i}a" * 2000 for i in range(4)]
    assert rows(*(("1a" * 2000 + f"{i}", (float(i),)) for i in range(4))) == ["1a" * 2000 + "{0..3}"]
    assert len(tries) == 1


VALUES = st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.sampled_from([0.0, 5.0]))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(NAMES, st.integers(0, 1), VALUES), unique_by=lambda named: named[0], max_size=60))
def test_a_row_has_equal_values_or_such_as_run(named):
    folded = fold([(name, what) for name, what, _ in named], [values for _, _, values in named])
    assert sorted(position for _, members in folded for position in members) == list(range(len(named)))
    for name, members in folded:
        assert sorted(expand(name)) == sorted(named[position][0] for position in members)
        assert len({named[position][1] for position in members}) == 1
        for column in zip(*(named[position][2] for position in members)):
            distinct = [a for a, b in zip(column, (*column[1:], None)) if a != b]
            assert distinct in (sorted(set(column)), sorted(set(column), reverse=True))
            assert len(distinct) != 2, "neither equal nor three values that run"

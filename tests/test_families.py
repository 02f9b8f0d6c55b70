"""Names that differ in numbers alone, folded: what ranges stand for are the names again."""

from hypothesis import given, settings
from hypothesis import strategies as st

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

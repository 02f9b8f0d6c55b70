"""fastinit.torch.record: what looks at values within a block gets them, and they stay what they are."""

import io
import pickle

import numpy as np
import torch
from torch import nn

import fastinit.torch as ft
from conftest import same
from recorded import drawn, of_weight


def test_what_is_looked_at_keeps_its_values():
    seen = {}

    def make():
        w = torch.randn(6, 5)
        seen["first"], seen["all"], seen["text"] = w[0, 0].item(), w.tolist(), repr(w)
        return w

    recipe, report, w = of_weight(make)
    assert recipe == drawn("normal", (6, 5), "#0")
    assert [early.name for early in report.early] == ["#0"]
    assert "#0" in str(report)
    assert "test_torch_recorded_values.py" in report.early[0].where
    assert w.tolist() == seen["all"]
    assert w[0, 0].item() == seen["first"]
    assert seen["text"].startswith("tensor([[")


def test_memory_that_is_handed_out():
    ways = {
        "numpy": lambda w: w.numpy(),
        "__array__": lambda w: np.asarray(w),
        "data_ptr": lambda w: w.data_ptr(),
        "untyped_storage": lambda w: w.untyped_storage()[0],
        "dlpack": lambda w: np.from_dlpack(w),
        "pickle": lambda w: pickle.dumps(w),
        "save": lambda w: torch.save(w, io.BytesIO()),
        "share": lambda w: w.share_memory_(),
    }
    for name, look in ways.items():

        def make(look=look):
            w = torch.randn(6, 5)
            look(w)
            return w

        assert of_weight(make)[0] == drawn("normal", (6, 5), "#0"), name

    def changed():
        w = torch.randn(6, 5)
        w.numpy()[0] = 3
        return w

    _, report, w = of_weight(changed)
    assert [lost.name for lost in report.literals] == ["w"]
    assert "numpy" in report.literals[0].why
    assert bool((w[0] == 3).all())
    assert same(w[1:], drawn("normal", (6, 5), "#0")[1:])


def test_values_that_depend_on_draws_agree_with_them():
    def make():
        module = nn.Module()
        module.w = nn.Parameter(torch.randn(6, 5) * 0.5)
        module.norm = nn.Parameter(torch.linalg.vector_norm(module.w.detach(), dim=1))
        module.minus = nn.Parameter(-module.w.detach())
        return module

    with ft.record(seed=7) as recording:
        module = make()
    report = recording.report(module)
    recording.fill_(module)
    assert report.recipes["w"] == drawn("normal", (6, 5), "w", std=0.5)
    assert not report.early
    assert torch.equal(module.norm, torch.linalg.vector_norm(module.w.detach(), dim=1))
    assert torch.equal(module.minus, -module.w)
    assert {lost.name for lost in report.literals} == {"norm", "minus"}


def test_a_draw_and_its_negative_in_one_tensor():
    def make():
        w = torch.randn(3, 5)
        return torch.cat([w, -w])

    recipe, _, w = of_weight(make)
    assert torch.equal(w[3:], -w[:3])
    assert recipe[:3].tolist() == drawn("normal", (3, 5), "w")[...].tolist()


def test_memory_that_is_used_again_is_not_taken_for_what_was_there():
    kept = []
    with ft.record(seed=7) as recording:
        for _ in range(500):
            torch.randn(64)
            kept.append(torch.arange(64).to(torch.float32))
            torch.zeros(64)
        drawn_ones = [nn.Parameter(torch.randn(64)) for _ in range(50)]
    assert all(torch.equal(tensor, torch.arange(64.0)) for tensor in kept)
    module = nn.ParameterList(drawn_ones)
    assert [recipe.name for recipe in recording.recipes(module).values()] == [str(k) for k in range(50)]


def test_zeros_of_both_signs_stay_what_they_are():
    def make(zeros):
        w = zeros()
        w[:, 1::2] *= -1
        return w

    for zeros in (lambda: torch.zeros(1, 8), lambda: torch.arange(8.0).view(1, 8) * 0):
        recipe, _, w = of_weight(lambda zeros=zeros: make(zeros))
        assert torch.signbit(w).tolist() == [[False, True] * 4]
        assert np.signbit(recipe[...]).tolist() == [[False, True] * 4]


def test_elements_that_repeat():
    _, _, w = of_weight(lambda: torch.randn(3, 1).expand(3, 4))
    assert w.stride() == (1, 0)
    assert torch.equal(w[:, 0], w[:, 3])


def test_literals_say_why_and_where():
    def make():
        w = torch.randn(6, 5)
        return torch.linalg.qr(w)[0]

    _, report, _ = of_weight(make)
    assert report.literals[0][:3] == ("w", 30, "computed by linalg_qr")
    assert "test_torch_recorded_values.py:" in report.literals[0].where
    assert (report.elements, report.literal_elements) == (30, 30)
    assert "100 % of them literals" in str(report)
    assert "linalg_qr" in str(report)


def test_deep_chains():
    """Of more operations than Python's stack has frames."""

    def many():
        w = torch.randn(6, 5)
        for _ in range(3000):
            w = w.add(1.0).sub_(1.0)
        return w

    def products():
        w = torch.randn(5, 5)
        for _ in range(600):
            w = w @ w / torch.linalg.norm(w)
        return w

    assert torch.isfinite(of_weight(many)[2]).all()
    with np.errstate(all="ignore"):
        of_weight(products)

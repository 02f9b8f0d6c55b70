"""fastinit.torch.record: what is so within a block and after it; threads, nesting, generators, loading."""

import copy
import threading

import pytest
import torch
from torch import nn

import fastinit as fi
import fastinit.torch as ft
from conftest import same
from recorded import drawn, holding, of_weight


class Small(nn.Module):
    """A module that can be built on meta and initialized later."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("factor", torch.ones(3) * 2, persistent=False)
        self.plain = torch.full((2,), 3.0)

    def init_states(self):
        nn.init.trunc_normal_(self.linear.weight, std=0.5)
        nn.init.zeros_(self.linear.bias)
        self.kept.fill_(1)
        self.factor.fill_(2)


# ---- after the block -------------------------------------------------------------------------------------------


def test_a_model_that_has_not_been_filled_is_on_meta():
    with ft.record(seed=7) as recording:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.Adam(model.parameters())
        weight = model[0].weight
        assert not weight.is_meta
    assert weight is model[0].weight
    assert all(parameter.is_meta and parameter.requires_grad for parameter in model.parameters())
    assert type(weight) is nn.Parameter
    with pytest.raises((RuntimeError, NotImplementedError)):
        model(torch.ones(2, 4))
    with pytest.raises(NotImplementedError, match="meta"):
        weight.tolist()
    recording.fill_(model)
    assert weight is model[0].weight
    assert same(weight, ft.tensor(recording.recipes(model)["0.weight"]))
    before = weight.clone()
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight, before)


def test_hooks_of_parameters_stay():
    calls = []
    with ft.record(seed=7) as recording:
        model = nn.Linear(3, 3)
        model.weight.register_hook(lambda grad: calls.append("hook"))
        model.bias.register_post_accumulate_grad_hook(lambda p: calls.append("after"))
    recording.fill_(model)
    model(torch.ones(2, 3)).sum().backward()
    assert sorted(calls) == ["after", "hook"]


def test_buffers_without_draws_have_their_values_at_once():
    with ft.record(seed=7) as recording:
        model = Small()
        model.noise = nn.Buffer(torch.randn(3), persistent=False)
    assert torch.equal(model.factor, torch.full((3,), 2.0))
    assert torch.equal(model.plain, torch.full((2,), 3.0))
    assert torch.equal(model.kept, torch.zeros(2))
    assert model.noise.is_meta
    assert list(recording.recipes(model)) == ["kept", "linear.weight", "linear.bias"]
    recording.fill_(model)
    assert same(model.noise, drawn("normal", (3,), "noise")[...])


def test_recipes_are_those_of_the_end_of_the_block():
    with ft.record(seed=7) as recording:
        model = nn.Linear(3, 3)
    recipes = recording.recipes(model)
    recording.fill_(model)
    with torch.no_grad():
        model.weight.add_(1)
    assert recording.recipes(model) == recipes
    kept = model.weight.clone()
    assert recording.fill_(model) is model  # has been filled: stays as it is
    assert torch.equal(model.weight, kept)


def test_models_of_others_are_refused():
    with ft.record(seed=7) as recording:
        model = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"weight is on meta.*moved or cast after the block"):
        recording.recipes(copy.deepcopy(model).half())


def test_a_recording_is_entered_once_and_fills_when_it_has_ended():
    recording = ft.record(seed=7)
    with recording:
        model = nn.Linear(3, 3)
        inside = recording.recipes(model)
        with pytest.raises(RuntimeError, match="has not ended"):
            recording.fill_(model)
    assert recording.recipes(model) == inside
    with pytest.raises(RuntimeError, match="entered once"), recording:
        pass
    with pytest.raises((TypeError, ValueError)):
        ft.record(seed=-1)


def test_a_block_that_fails_ends_all_the_same():
    state = torch.get_rng_state()
    made = []

    def fail():
        with ft.record(seed=7):
            made.append(nn.Linear(3, 3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert made[0].weight.is_meta
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.randn(3).is_meta


def test_filled_modules_equal_modules_filled_by_the_recipes():
    def make():
        return nn.Sequential(nn.Embedding(10, 4, padding_idx=1), nn.Linear(4, 4), nn.LayerNorm(4))

    with ft.record(seed=7) as recording:
        model = make()
    recipes = recording.recipes(model)
    other = ft.init_module_(copy.deepcopy(model), recipes)  # on meta so far
    recording.fill_(model)
    assert all(same(a, b) for a, b in zip(model.parameters(), other.parameters()))


# ---- meta first --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [True, False])
def test_meta_then_memory_then_values(outside):
    def on_meta():
        with torch.device("meta"):
            return Small()

    model = on_meta() if outside else None
    with ft.record(seed=7) as recording:
        model = model or on_meta()
        model.to_empty(device="cpu")
        model.init_states()
    recipes = recording.recipes(model)
    assert recipes["linear.weight"] == drawn("truncated_normal", (4, 4), "linear.weight", std=0.5, lower=-4, upper=4)
    assert all(parameter.is_meta for parameter in model.parameters())
    recording.fill_(model)
    assert same(model.linear.weight, recipes["linear.weight"][...])
    assert torch.equal(model.factor, torch.full((3,), 2.0))
    assert torch.equal(model.kept, torch.ones(2))


def test_parameters_that_were_there_and_get_other_memory():
    """By ``.data``, as ``Module.to`` does it: then their values are recorded, and they go to meta, too."""
    model = nn.Linear(3, 3)
    weight = model.weight
    with ft.record(seed=7) as recording:
        model.weight.data = torch.randn(3, 3)
        model.bias.data = model.bias.data.new_zeros(3)
    assert weight is model.weight
    assert weight.is_meta
    assert recording.recipes(model)["weight"] == drawn("normal", (3, 3), "weight")
    recording.fill_(model)
    assert same(weight, drawn("normal", (3, 3), "weight")[...])


def test_deep_copies_of_buffers_are_not_looked_at():
    def make():
        module = nn.Module()
        module.a = nn.Buffer(torch.randn(4, 3))
        module.b = nn.Buffer(module.a[:2])
        return nn.ModuleList([module, copy.deepcopy(module)])

    with ft.record(seed=7) as recording:
        modules = make()
    report = recording.report(modules)
    assert not report.early
    assert report.recipes["1.a"] == report.recipes["0.a"] == drawn("normal", (4, 3), "0.a")
    recording.fill_(modules)
    modules[1].a.zero_()
    assert not modules[1].b.any()  # of the same memory, as in the original
    assert same(modules[0].b, drawn("normal", (4, 3), "0.a")[:2])


def test_tensors_that_were_there_are_filled_at_once():
    model = Small()
    with ft.record(seed=7) as recording:
        model.init_states()
    report = recording.report(model)
    assert not model.linear.weight.is_meta
    assert report.recipes["linear.weight"].name == "#0"
    assert [early.name for early in report.early] == ["#0"]
    assert same(model.linear.weight, ft.tensor(report.recipes["linear.weight"]))
    assert torch.equal(model.kept, torch.ones(2))


# ---- threads, nesting, other modes -----------------------------------------------------------------------------


def test_nested_recordings():
    with ft.record(seed=1) as outer:
        a = nn.Linear(3, 3)
        with ft.record(seed=2) as inner:
            b = nn.Linear(3, 3)
            a.weight.data.mul_(2)  # of the outer one, and stays so
        assert b.weight.is_meta
        assert not a.weight.is_meta
        c = nn.Linear(3, 3)
    model = nn.ModuleList([a, b, c])
    recipes = outer.recipes(model)
    assert [recipes[f"{k}.weight"].seed for k in range(3)] == [1, 2, 1]
    assert recipes["0.weight"].bounds[1] == pytest.approx(2 * recipes["2.weight"].bounds[1])
    assert inner.recipes(b)["weight"].name == "weight"
    outer.fill_(model)
    assert same(b.weight, recipes["1.weight"][...])


def test_intercept_inside_and_outside_does_nothing():
    def make():
        layer = nn.Linear(3, 3)
        nn.init.trunc_normal_(layer.bias)
        nn.init.orthogonal_(layer.weight)
        return layer

    with ft.intercept(3) as filling, ft.record(seed=7) as inside:
        a = make()
    with ft.record(seed=7) as outside, ft.intercept(3) as other:
        b = make()
    with ft.record(seed=7) as alone:
        c = make()
    assert filling.fills == other.fills == 0
    assert inside.recipes(a) == outside.recipes(b) == alone.recipes(c)
    with ft.intercept(3) as filling:
        make()
    assert filling.fills == 4


def test_threads():
    """Each has its own recording, and others are not affected; torch's generator comes out as it went in."""
    state = torch.get_rng_state()
    barrier = threading.Barrier(3)
    made = {}

    def other(seed):
        barrier.wait()
        with ft.record(seed=seed) as recording:
            barrier.wait()
            made[seed] = nn.Linear(3, 3)
            barrier.wait()
        made[-seed] = recording

    def plain():
        barrier.wait()
        barrier.wait()
        made["plain"] = torch.zeros(3)
        barrier.wait()

    threads = [
        threading.Thread(target=other, args=(1,)),
        threading.Thread(target=other, args=(2,)),
        threading.Thread(target=plain),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(made["plain"], torch.zeros(3))
    for seed in (1, 2):
        assert made[-seed].recipes(made[seed])["weight"].seed == seed
    assert torch.equal(torch.get_rng_state(), state)


# ---- generators --------------------------------------------------------------------------------------------------


def test_generators_give_the_seed():
    def by_generator(number):
        return torch.randn(6, 5, generator=torch.Generator().manual_seed(number))

    first, report, _ = of_weight(lambda: by_generator(3))
    assert first.name == ""
    assert first == of_weight(lambda: by_generator(3), seed=8)[0]
    assert first != of_weight(lambda: by_generator(4))[0]
    assert report.early[0].looked_at == "a generator gave the seed"


def test_manual_seed_changes_only_what_is_left_to_torch():
    def make(number):
        torch.manual_seed(number)
        module = holding(torch.randn(6, 5))
        module.order = nn.Parameter(torch.randperm(40).float())
        return module

    def recipes(number, seed=7):
        with ft.record(seed=seed) as recording:
            module = make(number)
        return recording.recipes(module)

    first, second = recipes(1), recipes(2)
    assert first["w"] == second["w"]
    assert first["order"] != second["order"]
    torch.manual_seed(1)
    assert first["order"] == fi.literal(torch.randperm(40).float().numpy()) or first["order"] == recipes(1, 8)["order"]


def test_what_is_left_to_torch_follows_the_seed():
    def literal(seed):
        return of_weight(lambda: torch.empty(6, 5).exponential_(), seed)[0]

    torch.manual_seed(1)
    first, state = literal(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert literal(7) == first
    assert literal(8) != first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)

"""Building models in torch and transformers as their users do, on fresh memory: plain, under `intercept`, from meta.

Beside ours stands the same work with a constant fill in the place of the random one: what memory allows.
"""

import gc

import pytest

import fastinit as fi
from scale import laps, size

torch = pytest.importorskip("torch")
import fastinit.torch as ft  # noqa: E402  after the word about torch
from fastinit.torch import intercepting  # noqa: E402

WIDE, SQUARE = size(8192, 4096, 256), size(4096, 2048, 128)
LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": size(22, 4, 1),
    "vocab_size": size(32000, 8000, 2000),
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}


class Constants:
    """intercept, but every fill writes one value."""

    def __enter__(self):
        self.real = dict(intercepting._INIT)
        intercepting._INIT.update(dict.fromkeys(self.real, self.fill))
        self.mode = ft.intercept(0)
        self.mode.__enter__()

    def __exit__(self, *exception):
        self.mode.__exit__(*exception)
        intercepting._INIT.update(self.real)

    @staticmethod
    def fill(tensor, *args, **kwargs):
        return ft.fill_(tensor, fi.recipe("constant", tuple(tensor.shape), value=0.5))


def within(context, make):
    with context:
        return make()


def contestants_of(make):
    return {
        "fastinit": lambda: within(ft.intercept(0), make),
        "constant fill": lambda: within(Constants(), make),
        "torch": make,
    }


def turn(measure, job, contestant, run, parameters):
    gc.collect()
    measure(job, contestant, run, 4 * parameters, rounds=1, warm=False)


@pytest.mark.parametrize("contestant", ["fastinit", "constant fill", "torch"])
@pytest.mark.parametrize("lap", range(laps(5)))
def test_linear(measure, lap, contestant):
    run = contestants_of(lambda: torch.nn.Linear(WIDE, WIDE))[contestant]
    turn(measure, f"Linear({WIDE}, {WIDE})", contestant, run, WIDE * WIDE)


@pytest.mark.parametrize("contestant", ["fastinit", "constant fill", "torch"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_llama(measure, lap, contestant):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**LLAMA)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in transformers.LlamaForCausalLM(config).parameters())
    run = contestants_of(lambda: transformers.LlamaForCausalLM(config))[contestant]
    turn(measure, f"Llama, {parameters:,} parameters", contestant, run, parameters)


def empty():
    with torch.device("meta"):
        return torch.nn.Sequential(*(torch.nn.Linear(SQUARE, SQUARE) for _ in range(16)))


def reset():
    module = empty().to_empty(device="cpu")
    for child in module:
        child.reset_parameters()
    return module


META = {
    "fastinit": lambda: ft.init_module_(empty(), {"*.weight": "he_uniform", "*.bias": "zeros"}),
    "constant fill": lambda: ft.init_module_(empty(), {"*": fi.init("constant", value=0.5)}),
    "torch": reset,
}


@pytest.mark.parametrize("contestant", META)
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_meta(measure, lap, contestant):
    """`init_module_` against `to_empty` and `reset_parameters`."""
    turn(measure, f"16 x Linear({SQUARE}, {SQUARE}) from meta", contestant, META[contestant], 16 * SQUARE * SQUARE)

"""Recording a model, and its recipes, against building it on `meta`: both fill nothing."""

import gc

import pytest

from scale import laps, size

torch = pytest.importorskip("torch")
import fastinit.torch as ft  # noqa: E402  after the word about torch

MODELS = {
    "Llama": ("LlamaForCausalLM", {"num_hidden_layers": size(32, 32, 2)}),
    "Mixtral": ("MixtralForCausalLM", {"num_hidden_layers": size(32, 32, 2)}),
    "BERT": ("BertForPreTraining", {"num_hidden_layers": size(12, 12, 2)}),
}
LINEARS = size(2000, 2000, 50)


def linears():
    return torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(LINEARS))


def of_transformers(name):
    transformers = pytest.importorskip("transformers")
    kind, options = MODELS[name]
    kind = getattr(transformers, kind)
    config = kind.config_class(**options)
    return lambda: kind(config)


def recorded(build):
    with ft.record(seed=0):
        return build()


def with_recipes(build):
    with ft.record(seed=0) as recording:
        model = build()
    return recording.recipes(model)


def on_meta(build):
    with torch.device("meta"):
        return build()


CONTESTANTS = {"fastinit": recorded, "with its recipes": with_recipes, "meta": on_meta}


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("lap", range(laps(5)))
@pytest.mark.parametrize("name", [*MODELS, f"{LINEARS} x Linear(8, 8)"])
def test_recording(measure, name, lap, contestant):
    build = of_transformers(name) if name in MODELS else linears
    on_meta(build)  # what is imported and remembered once
    gc.collect()
    measure(name, contestant, lambda: CONTESTANTS[contestant](build), 1, "model")

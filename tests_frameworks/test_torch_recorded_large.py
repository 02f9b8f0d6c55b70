"""Recordings of transformers' models, and the memory that recordings take and let go."""

import subprocess
import sys

import torch
from torch import nn

import fastinit as fi
import fastinit.torch as ft
from conftest import same
from test_torch_recorded_blocks import drawn, holding

# ---- transformers ------------------------------------------------------------------------------------------------

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 100,
}


def test_llama():
    """Tied, in bfloat16; by the names of its state dict, in its order; every matrix by its own name."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **SIZES, num_key_value_heads=1, tie_word_embeddings=True, pad_token_id=0, initializer_range=0.05
    )
    with ft.record(seed=7) as recording:
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    report = recording.report(model)
    assert list(report.recipes) == [name for name in model.state_dict() if name != "lm_head.weight"]
    assert not report.literals
    assert not report.early
    for name, recipe in report.recipes.items():
        normal = drawn("normal", recipe.shape, name, dtype="bfloat16", std=0.05)
        if name == "model.embed_tokens.weight":
            zeros = fi.recipe("zeros", (32,), dtype="bfloat16", seed=7)
            assert recipe == fi.paste(normal, 0, zeros)
        else:
            assert recipe == (normal if recipe.ndim == 2 else drawn("ones", recipe.shape, name, dtype="bfloat16"))
    recording.fill_(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
    assert all(same(tensor, ft.tensor(report.recipes[name])) for name, tensor in model.named_parameters())


def test_t5_and_mamba():
    """Every draw shows; Mamba's A_log and steps are literals, with the line of code that computes them."""
    from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": 100}
    with ft.record(seed=7) as recording:
        t5 = T5ForConditionalGeneration(T5Config(**sizes))
        mamba = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=100, state_size=4))
    assert not recording.report(t5).literals
    report = recording.report(mamba)
    assert {lost.name for lost in report.literals} == {
        "backbone.layers.0.mixer.A_log",
        "backbone.layers.0.mixer.dt_proj.bias",
    }
    assert all("modeling_mamba.py:" in lost.where for lost in report.literals)
    assert not report.early
    recording.fill_(mamba)
    expected = torch.log(torch.arange(1, 5, dtype=torch.float32)).expand(64, -1)
    assert torch.equal(mamba.backbone.layers[0].mixer.A_log, expected)


def test_loaded_weights_stay_and_missing_heads_are_recorded(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    base = BertModel(BertConfig(**SIZES))
    base.save_pretrained(tmp_path)
    with ft.record(seed=7) as recording:
        model = BertForSequenceClassification.from_pretrained(tmp_path)
    assert {name for name, p in model.named_parameters() if p.is_meta} == {"classifier.weight", "classifier.bias"}
    report = recording.report(model)
    assert report.recipes["classifier.weight"] == drawn("normal", (2, 32), "classifier.weight", std=0.02)
    lost = {found.name for found in report.literals}
    assert "bert.pooler.dense.weight" in lost
    assert "classifier.weight" not in lost
    recording.fill_(model)
    loaded = model.bert.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in base.state_dict().items())


def test_tensors_marked_as_loaded_are_left_alone():
    from transformers import initialization

    def make():
        w = torch.ones(6, 5)
        w._is_hf_initialized = True
        initialization.normal_(w)
        other = torch.ones(6, 5)
        initialization.normal_(other, std=0.5)
        module = holding(w)
        module.other = nn.Parameter(other)
        return module

    with ft.record(seed=7) as recording:
        module = make()
    recipes = recording.recipes(module)
    assert recipes["w"] == drawn("ones", (6, 5), "w")
    assert recipes["other"] == drawn("normal", (6, 5), "other", std=0.5)


# ---- memory ------------------------------------------------------------------------------------------------------

LARGE = """
import resource
import torch
from torch import nn
import fastinit.torch as ft

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(65536, 65536) for _ in range(12))
        self.experts = nn.Parameter(torch.empty(8, 28672, 4096).normal_(std=0.02))
        self.fused = nn.Parameter(torch.cat([torch.randn(60000, 8192), torch.zeros(5536, 8192)]))

with ft.record() as recording:
    nn.Linear(3, 3)
before = resident()
with ft.record(seed=7) as recording:
    model = Large()
report = recording.report(model)
assert report.elements > 46e9, report.elements
assert not report.literals
print((resident() - before) >> 20)
"""


def test_46_billion_parameters_take_no_memory():
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 64


SCRIPTED = """
import torch
import fastinit.torch as ft
with ft.record(seed=7) as recording:
    layer = torch.nn.Linear(3, 3)
    scripted = torch.jit.script(layer)
report = recording.report(scripted)
assert scripted(torch.ones(1, 3)).shape == (1, 3)
assert torch.equal(scripted.weight, ft.tensor(report.recipes["weight"]))
recording.fill_(layer)
assert torch.equal(scripted.weight, layer.weight)
"""


def test_what_cpp_holds_gets_its_values_at_the_end():
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPTED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


TEMPORARY = """
import resource
import torch
import fastinit.torch as ft

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

with ft.record() as recording:
    torch.randn(4).exponential_().add_(1).sum().item()
    before = resident()
    for _ in range(300):
        w = torch.empty(1 << 20).exponential_()  # 4 MiB that torch draws
        w[0] = 1
print((resident() - before) >> 20)
"""


def test_values_of_tensors_that_are_gone_are_let_go():
    """Of 1200 MiB in all."""
    run = subprocess.run([sys.executable, "-c", TEMPORARY], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 300


SILENT = """
import ctypes
import torch
import fastinit.torch as ft
with ft.record() as recording:
    w = torch.randn(4)
    with torch._C.DisableTorchFunction():  # as C++ has it
        address = w.data_ptr()
    ctypes.string_at(address, 16)
"""


def test_reading_past_the_recording_is_not_silent():
    run = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=False)
    assert run.returncode < 0

"""init_module_ of modules on meta, their buffers, and parameters on other devices."""

import pytest
import torch
from torch import nn

import fastinit as fi
from conftest import same
from fastinit.torch import init_module_, memory
from small_model import RULES, Model, check, expected


def on_meta(**options):
    with torch.device("meta"):
        return Model(**options)


def test_meta_modules_are_materialised():
    module = on_meta()
    module.emb.weight.mark = "kept"
    module.conv.weight.requires_grad_(False)
    init_module_(module, RULES, seed=5)
    assert not any(p.is_meta for p in module.parameters())
    check(module)
    assert module.head.weight is module.emb.weight
    assert module.emb.weight.mark == "kept"
    assert not module.conv.weight.requires_grad
    assert isinstance(module.conv.weight, nn.Parameter)


def test_what_is_not_on_meta_stays():
    module = on_meta()
    module.norm = nn.LayerNorm(8)
    module.register_buffer("table", torch.arange(5.0))
    norm = module.norm.weight
    init_module_(module, RULES, seed=5)
    assert module.norm.weight is norm
    assert (module.table == torch.arange(5.0)).all()


def test_buffers_need_a_callable():
    module = on_meta(buffer=True)
    with pytest.raises(ValueError, match=r"positions; give buffers="):
        init_module_(module, RULES)
    assert all(p.is_meta for p in module.parameters())
    with pytest.raises(ValueError, match=r"without values: positions"):
        init_module_(module, RULES, buffers=lambda module: None)
    for build in (
        lambda module: module.positions.copy_(torch.arange(8.0)),
        lambda module: setattr(module, "positions", torch.arange(8.0)),
    ):
        module = on_meta(buffer=True)
        init_module_(module, RULES, seed=5, buffers=build)
        assert (module.positions == torch.arange(8.0)).all()
        check(module)


@pytest.mark.parametrize(
    "build",
    [
        lambda module: module.positions.data.copy_(torch.arange(8.0)),
        lambda module: module.positions.numpy().__setitem__(slice(None), range(8)),
        lambda module: fi.torch.fill_(module.positions, fi.recipe("constant", 8, value=3.0)),
    ],
)
def test_buffers_may_be_set_in_any_way(build):
    module = on_meta(buffer=True)
    init_module_(module, RULES, seed=5, buffers=build)
    assert module.positions.isfinite().all()


def test_a_second_try_after_buffers_failed():
    """Buffers without values must not pass as if they had some."""
    module = on_meta(buffer=True)
    with pytest.raises(ZeroDivisionError):
        init_module_(module, RULES, buffers=lambda module: 1 / 0)
    for _ in range(2):
        with pytest.raises(ValueError, match="without values: positions"):
            init_module_(module, RULES, buffers=lambda module: None)
        with pytest.raises(ValueError, match="give buffers="):
            init_module_(module, RULES)
    init_module_(module, RULES, seed=5, buffers=lambda module: module.positions.zero_())
    check(module)
    assert "positions" not in module.state_dict()


def test_buffers_of_norms_that_are_no_statistics():
    class Norm(nn.BatchNorm1d):
        def __init__(self):
            super().__init__(3)
            self.register_buffer("extra", torch.zeros(3))

    with torch.device("meta"):
        module = Norm()
    with pytest.raises(ValueError, match="values: extra; give buffers="):
        init_module_(module, {"*": "ones"})
    init_module_(module, {"*": "ones"}, buffers=lambda module: module.extra.zero_())
    assert (module.running_var == 1).all()


def test_attributes_survive_swapping():
    module = on_meta()
    module.conv.weight.mark = "kept"
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        init_module_(module, RULES, seed=5)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert module.conv.weight.mark == "kept"
    assert module.head.weight is module.emb.weight
    check(module)


def test_parametrized_modules_are_not_run():
    module = nn.utils.parametrizations.spectral_norm(nn.Embedding(6, 3, padding_idx=1))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with pytest.raises(ValueError, match="no rule"):
        init_module_(module, {})
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    init_module_(module, {"*": "normal"})
    assert same(module.parametrizations.weight.original, fi.normal((6, 3), seed=0, name="weight"))


def test_running_statistics_reset_themselves():
    with torch.device("meta"):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    init_module_(module, {"0.weight": "he_normal", "1.weight": "ones", "*.bias": "zeros"})
    reference = nn.BatchNorm2d(4)
    for name, buffer in module[1].named_buffers():
        assert torch.equal(buffer, dict(reference.named_buffers())[name])
    module(torch.ones(2, 3, 8, 8))


def test_rules_of_none_are_refused_on_meta():
    with pytest.raises(ValueError, match=r"conv\.weight: it is on meta"):
        init_module_(on_meta(), {"conv*": None, **RULES})


def test_llama_from_meta():
    """Its rotary frequencies are non-persistent buffers, which to_empty would leave as garbage."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=100,
        tie_word_embeddings=True,
    )  # fmt: skip
    rules = {"*norm.weight": "ones", "*": fi.init("normal", std=0.02)}
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    with pytest.raises(ValueError, match="inv_freq"):
        init_module_(model, rules)

    def rebuild(model):
        model.model.rotary_emb = LlamaRotaryEmbedding(config)

    init_module_(model, rules, seed=1, buffers=rebuild)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    plain = LlamaForCausalLM(config)
    assert torch.equal(model.model.rotary_emb.inv_freq, plain.model.rotary_emb.inv_freq)
    init_module_(plain, rules, seed=1)
    assert all(same(a, b) for a, b in zip(model.parameters(), plain.parameters()))
    tokens = torch.arange(10)[None]
    assert torch.equal(model(tokens).logits, plain(tokens).logits)


# ---- other devices ---------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """Tensors as if the CPU could not write to their memory, except for the buffers that values go through."""
    stages = []

    class Watched:
        def __getattr__(self, name):
            return getattr(torch, name)

        def empty(self, *args, **kwargs):
            stages.append(torch.empty(*args, **kwargs))
            return stages[-1]

    def on_host(tensor):
        return any(tensor.untyped_storage().data_ptr() == stage.untyped_storage().data_ptr() for stage in stages)

    monkeypatch.setattr(memory, "STAGE", 400)
    monkeypatch.setattr(memory, "torch", Watched())
    monkeypatch.setattr(memory, "on_host", on_host)
    return stages


def test_other_devices_get_values_through_one_small_buffer(elsewhere):
    module = Model()
    init_module_(module, {"conv*": "uniform", **RULES}, seed=5)
    assert same(module.body[0].weight, expected("body.0.weight", (16, 8)))
    assert same(module.emb.weight, expected("emb.weight", (20, 8)))
    assert max(stage.nbytes for stage in elsewhere) <= 400


def test_orthogonal_values_go_through_a_buffer_of_their_size(elsewhere):
    module = nn.Linear(30, 20, bias=False)
    init_module_(module, {"*": "orthogonal"})
    assert same(module.weight, fi.orthogonal((20, 30), out_axis=0, seed=0, name="weight"))
    assert [stage.nbytes for stage in elsewhere] == [20 * 30 * 4]

"""`fastinit record`: from a configuration to a checkpoint that from_pretrained loads; what is refused."""

import json
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import fastinit as fi
from conftest import same
from fastinit import cli
from fastinit.checkpoint import load_manifest

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "pad_token_id": 7,
    "dtype": "bfloat16",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def run(here, monkeypatch, capfd):
    """`run("record", "my:build")`: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fastinit", *arguments])
        code = cli.run()
        out, err = capfd.readouterr()
        return code, out, err

    return call


def configuration(path, **more):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(LLAMA | more))


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_from_its_configuration_to_from_pretrained(run, here, tied):
    configuration(here / "llama" / "config.json", tie_word_embeddings=tied)
    code, out, err = run("record", "transformers:llama", "-o", "model.toml", "--seed", "5")
    assert (code, err) == (0, "")
    recipes = load_manifest("model.toml")
    assert out.splitlines()[-1].startswith(f"model.toml: {len(recipes)} tensors, ")
    layers = "model.layers.{layer:0..2}."
    text = (here / "model.toml").read_text()
    assert f'name = "{layers}self_attn.q_proj.weight"' in text
    assert "seed = 5" in text
    assert 'dtype = "bfloat16"' in text
    assert text.count("[[tensors]]") == (12 - tied)
    assert "literals" not in text
    assert run("write", "model.toml", "-o", "out", "--max-shard-size", "40KB", "--quiet") == (0, "", "")
    (here / "out" / "config.json").write_text((here / "llama" / "config.json").read_text())
    model, info = transformers.LlamaForCausalLM.from_pretrained("out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state = model.state_dict()
    for name, recipe in recipes.items():
        assert same(state[name], recipe[...]), name
    assert recipes["model.layers.1.mlp.up_proj.weight"].name == "model.layers.1.mlp.up_proj.weight"
    assert (state["model.embed_tokens.weight"][7] == 0).all()
    assert (state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()) == tied
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained("trained")
    code, out, _ = run("verify", "trained", "model.toml", "--json")
    moved = {tensor["name"]: tensor["moved"] for tensor in json.loads(out)["tensors"]}
    assert (code, set(moved)) == (1, set(recipes))
    assert moved.pop("model.layers.1.mlp.up_proj.weight") == pytest.approx(0.5, rel=1e-3)
    assert set(moved.values()) == {0}
    with torch.device("meta"):
        empty = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA | {"tie_word_embeddings": tied}))
    fi.torch.init_module_(
        empty.to(torch.bfloat16), recipes, buffers=lambda model: model.model.rotary_emb.__init__(model.config)
    )
    for name, recipe in recipes.items():
        assert same(empty.state_dict()[name], recipe[...]), name


FUNCTIONS = """
    import torch
    from torch import nn

    def build():
        first = nn.Linear(4, 6)
        nn.init.normal_(first.weight, std=0.5)
        model = nn.Sequential(first, nn.BatchNorm1d(6), nn.Linear(6, 2))
        with torch.no_grad():
            model[2].weight.copy_(torch.arange(12.0).view(2, 6) ** 2)
        return model

    class Models:
        small = build

    def broken():
        raise KeyError("nothing")

    def number():
        return 3
"""


def test_a_function_and_its_literals(run, here):
    (here / "mine.py").write_text(textwrap.dedent(FUNCTIONS))
    code, out, err = run("record", "mine:build", "-o", "m.toml")
    assert (code, err) == (0, "")
    recipes = load_manifest("m.toml")
    assert recipes["0.weight"] == fi.recipe("normal", (6, 4), std=0.5, seed=0, name="0.weight")
    np.testing.assert_array_equal(recipes["2.weight"][...], np.arange(12.0).reshape(2, 6) ** 2)
    assert "2.weight" in out  # the report says what is a literal
    assert len(list(here.glob("m.literals-*.safetensors"))) == 1
    code, out, _ = run("record", "mine:Models.small", "--json")
    said = json.loads(out)
    assert (code, said["output"], said["model"], said["tensors"]) == (0, None, "Sequential", len(recipes))
    assert [lost["name"] for lost in said["literals"]] == ["2.weight"]
    assert said["left_out"] == ["1.num_batches_tracked"]
    code, out, err = run("record", "mine:build", "-o", "m.toml")
    assert (code, out) == (2, "")
    assert "--force" in err
    assert run("record", "mine:build", "-o", "m.toml", "--seed", "1", "--force", "--quiet") == (0, "", "")
    assert load_manifest("m.toml")["0.weight"].seed == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mine", "none of transformers:CONFIG, timm:NAME and module.path:function"),
        (":x", "none of transformers:CONFIG"),
        ("mine:", "none of transformers:CONFIG"),
        ("mine:buil", "mine has no 'buil'; did you mean 'build'?"),
        ("mine:broken", "mine:broken could not be built: KeyError: 'nothing'"),
        ("mine:number", "mine:number made a int, and no torch.nn.Module"),
        ("absent:build", "absent:build: No module named 'absent'"),
        ("wrong:build", "wrong cannot be imported: ZeroDivisionError"),
        ("mi ne:build", "none of transformers:CONFIG"),
        ("transformers:absent.json", "absent.json: No such file"),
        ("transformers:mine.py", "mine.py: no configuration"),
        ("transformers:list.json", "no configuration of transformers: it has no model_type"),
        ("transformers:typo.json", "transformers has no model_type 'lama'; did you mean 'llama'?"),
        ("transformers:other.json", "its code would have to come from elsewhere, and is not run"),
        ("transformers:unnamed.json", "it names no architectures"),
        ("transformers:evil.json", "transformers has no model 'os'"),
        ("timm:resnet18", "a model of timm needs timm"),
    ],
)
def test_what_cannot_be_recorded_is_said_in_a_line(run, here, monkeypatch, source, message):
    (here / "mine.py").write_text(textwrap.dedent(FUNCTIONS))
    (here / "wrong.py").write_text("1 / 0")
    (here / "list.json").write_text("[1]")
    configuration(here / "typo.json", model_type="lama")
    configuration(here / "other.json", model_type="zzzz")
    configuration(here / "unnamed.json", architectures=None)
    configuration(here / "evil.json", architectures=["os"])
    monkeypatch.setitem(sys.modules, "timm", None)
    sys.modules.pop("mine", None)
    code, out, err = run("record", source, "-o", "m.toml")
    assert (code, out) == (3 if "No such file" in message else 2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (here / "m.toml").exists()


def test_no_code_that_a_configuration_names_is_run(run, here):
    """auto_map, at the top and within, beside the files that it names; and kernels from elsewhere."""
    spoiled = f"open({str(here / 'ran')!r}, 'w')\n"
    for name in ("configuration_evil", "modeling_evil"):
        (here / f"{name}.py").write_text(spoiled)
    auto_map = {
        "AutoConfig": "configuration_evil.EvilConfig",
        "AutoModelForCausalLM": "modeling_evil.EvilForCausalLM",
        "AutoModel": "modeling_evil.Evil",
    }
    configuration(here / "config.json", auto_map=auto_map, attn_implementation="somebody/kernels")
    assert run("record", "transformers:.", "-o", "m.toml", "--quiet") == (0, "", "")
    llava = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": {key: value for key, value in LLAMA.items() if key != "architectures"} | {"auto_map": auto_map},
        "vision_config": {
            "model_type": "clip_vision_model",
            "auto_map": auto_map,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
            "projection_dim": 32,
        },
        "auto_map": auto_map,
    }
    (here / "config.json").write_text(json.dumps(llava))
    assert run("record", "transformers:.", "-o", "llava.toml", "--quiet") == (0, "", "")
    assert len(load_manifest("llava.toml")) > 30
    configuration(here / "config.json", model_type="evil", auto_map=auto_map)
    assert run("record", "transformers:.")[0] == 2
    configuration(here / "config.json", architectures=["EvilForCausalLM"], auto_map=auto_map)
    assert run("record", "transformers:.")[0] == 2
    assert not (here / "ran").exists()


def test_a_model_of_timm_is_built_without_trained_weights(run, here, monkeypatch):
    """By a stand-in for the library: what it is asked for."""
    asked = []

    def create_model(name, pretrained):
        asked.append((name, pretrained))
        return nn.Linear(3, 2)

    timm = types.SimpleNamespace(
        is_model=lambda name: name == "resnet18", list_models=lambda: ["resnet18"], create_model=create_model
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert run("record", "timm:resnet18", "-o", "m.toml", "--quiet") == (0, "", "")
    assert asked == [("resnet18", False)]
    assert list(load_manifest("m.toml")) == ["weight", "bias"]
    assert "did you mean 'resnet18'" in run("record", "timm:resnet16")[2]
    for name in ("hf-hub:somebody/model", "local-dir:."):
        assert "timm has no model" in run("record", f"timm:{name}")[2]
    assert len(asked) == 1


def test_without_torch_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, err = run("record", "mine:build")
    assert (code, out) == (2, "")
    assert err == "fastinit: fastinit record needs torch: pip install 'fastinit-weights[torch]', or torch itself\n"

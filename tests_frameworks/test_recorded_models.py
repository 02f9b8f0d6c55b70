"""Models of transformers, timm, torch.nn and torchtitan's kind, recorded and filled, against what torch initialises.

`make test-frameworks` tries a part of them, `make test-frameworks-full` all (QUICK=1: every twelfth).
"""

import os
from fnmatch import fnmatchcase

import pytest
import transformers

import fastinit.torch as ft
import likeness
import plain_modules
import timm_models
import transformers_models
import tricky_modules
from recorded import literals, mistakes, plain, recorded

FULL, QUICK = os.environ.get("FULL"), os.environ.get("QUICK")


def chosen(every, usual):
    """What is tried of a list: the usual, all, or a few of all."""
    return list(usual) if not FULL else list(every)[::12] if QUICK else list(every)


def check(build, literal=()):
    """Recorded models are like torch's own, follow from their seed alone, and hold no literals but those expected."""
    torch_made = [plain(build, seed) for seed in range(likeness.RUNS)]
    ours, recipes = zip(*(recorded(build, seed) for seed in range(likeness.RUNS)))
    assert likeness.differences(ours, torch_made) == []
    assert mistakes(ours[0], recipes[0]) == []
    assert recorded(build, 0, torchs_seed=7, fill=False)[1] == recipes[0], "recipes that depend on torch's own seed"
    found = [name for name in literals(recipes[0]) if not any(fnmatchcase(name, pattern) for pattern in literal)]
    assert found == []


@pytest.mark.parametrize("name", chosen(transformers_models.CLASSES, transformers_models.USUAL))
@pytest.mark.filterwarnings("ignore")
def test_transformers(name):
    check(lambda: transformers_models.build(name), transformers_models.LITERAL)


MODULES = plain_modules.MODULES | plain_modules.TITAN | tricky_modules.MODULES
LITERAL = plain_modules.LITERAL | tricky_modules.LITERAL


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_modules(name):
    check(MODULES[name], LITERAL.get(name, ()))


if FULL:

    @pytest.mark.parametrize("name", chosen(timm_models.NAMES, []))
    @pytest.mark.filterwarnings("ignore")
    def test_timm(name):
        check(lambda: timm_models.build(name), timm_models.LITERAL)


# ---- how much of real models, not of tiny ones, are literals ----------------------------------------------------

# one element in a thousand at most, but of these
MORE = {
    "MambaForCausalLM",  # A_log, the logarithms of 1, 2, ..., 16
    "FalconMambaForCausalLM",
    "ZambaForCausalLM",
    "PegasusForConditionalGeneration",  # sines and cosines of positions
    "MarianMTModel",
    "WhisperForConditionalGeneration",
    "PatchTSTForPretraining",
}


@pytest.mark.limits_memory
@pytest.mark.filterwarnings("ignore")
def test_shares_of_literals():
    """Of models as their configurations make them where none says how large; up to 671 billion parameters."""
    shares = {}
    for name in chosen(transformers_models.CLASSES, transformers_models.USUAL):
        kind = getattr(transformers, name)
        if name in transformers_models.NEED_A_SIZE:
            continue
        with ft.record(seed=0) as recording:
            model = kind(kind.config_class())
        recipes = recording.recipes(model)
        shares[name] = sum(literals(recipes).values()) / sum(recipe.size for recipe in recipes.values())
    assert {name for name, share in shares.items() if share > 0.001} <= MORE
    if FULL and not QUICK:
        assert sum(shares.values()) / len(shares) < 0.001

"""Models of transformers, timm, torch.nn and torchtitan's kind, recorded and filled, against what torch initialises.

`make test-frameworks` tries a part of them, `make test-frameworks-full` all (QUICK=1: every twelfth).
"""

import os

import pytest

import likeness
import plain_modules
import timm_models
import transformers_models
import tricky_modules
from conftest import same
from recorded import literals, mistakes, plain, recorded

FULL, QUICK = os.environ.get("FULL"), os.environ.get("QUICK")


def chosen(every, usual):
    """What is tried of a list: the usual, all, or a few of all."""
    return list(usual) if not FULL else list(every)[::12] if QUICK else list(every)


def check(build, allowed=()):
    ours, kept = [], None
    for seed in range(likeness.RUNS):
        model, recipes = recorded(build, seed)
        assert mistakes(model, recipes) == []
        ours.append(model)
        kept = kept or recipes
    assert likeness.differences(ours, [plain(build, seed) for seed in range(likeness.RUNS)]) == []

    again, recipes = recorded(build, 0, torchs_seed=7)
    assert recipes == kept, "recipes that depend on torch's own seed"
    for (name, one), two in zip(likeness.tensors(ours[0]).items(), likeness.tensors(again).values()):
        assert one.dtype not in likeness.FLOATS or same(one, two), name
    assert literals(kept).keys() == set(allowed)


@pytest.mark.parametrize("name", chosen(transformers_models.CLASSES, transformers_models.USUAL))
@pytest.mark.filterwarnings("ignore")
def test_transformers(name):
    check(lambda: transformers_models.build(name))


MODULES = plain_modules.MODULES | plain_modules.TITAN | tricky_modules.MODULES


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_modules(name):
    check(MODULES[name])


if FULL:

    @pytest.mark.parametrize("name", chosen(timm_models.NAMES, []))
    @pytest.mark.filterwarnings("ignore")
    def test_timm(name):
        check(lambda: timm_models.build(name))

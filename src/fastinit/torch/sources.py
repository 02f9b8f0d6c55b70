"""Models that a text names: ``transformers:config.json``, ``timm:vit_base_patch16_224``, ``my.models:build``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..extras import require
from ..wording import near_match

#: Bytes of a configuration.
_LONGEST = 10_000_000
#: Keys of a configuration, at any depth, that have code run or fetched which transformers itself does not bring.
_FOREIGN = ("auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation", "experts_implementation")

Build = Callable[[], torch.nn.Module]


def builder_of(source: str) -> Build:
    """A function that builds the model of that text; what it needs is imported already.

    Parameters
    ----------
    source : str
        ``transformers:PATH``, a configuration or a folder with a config.json: the class that it names first under
        `architectures`, built from it alone. Nothing is downloaded, and no code is run that a configuration names.
        ``timm:NAME``, a model of timm without its trained weights. ``module.path:function``, which is imported, also
        from the working directory, and called without arguments.

    Raises
    ------
    ValueError
        A text of another form; what is not there.
    ImportError
        transformers or timm is missing; a module that cannot be imported.
    OSError
        A configuration that cannot be read.
    """
    kind, colon, rest = source.partition(":")
    if not colon or not kind or not rest:
        raise ValueError(f"{source!r} is none of transformers:CONFIG, timm:NAME and module.path:function")
    if kind == "transformers":
        return _of_transformers(Path(rest))
    if kind == "timm":
        return _of_timm(rest)
    return _of_function(source, kind, rest)


def _of_transformers(path: Path) -> Build:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
    transformers = _library("transformers")
    path = path / "config.json" if path.is_dir() else path
    with open(path, "rb") as file:
        text = file.read(_LONGEST + 1)
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST:,} bytes")
        given = _own(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no configuration: {str(error)[:200]}") from None
    if not isinstance(given, dict) or not isinstance(given.get("model_type"), str):
        raise ValueError(f"{path}: no configuration of transformers: it has no model_type")
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    if given["model_type"] not in known:
        near = near_match(given["model_type"], known) if len(given["model_type"]) < 80 else "?"
        near = near if near.startswith("did") else "its code would have to come from elsewhere, and is not run"
        raise ValueError(f"{path}: transformers has no model_type {given['model_type']!r}; {near}")
    named = given.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        what = f"transformers has no model {name!r}" if name else "it names no architectures, so no class of a model"
        raise ValueError(f'{path}: {what}: say "architectures": ["LlamaForCausalLM"], or as it is called')
    kind_of_config = transformers.CONFIG_MAPPING[given["model_type"]]

    def build() -> torch.nn.Module:
        model: Any = kind
        return _running(f"{name} of {path}", lambda: model._from_config(kind_of_config.from_dict(given)))

    return build


def _library(name: str) -> Any:
    try:
        return require(name, name, f"a model of {name}")
    except ImportError:
        raise
    except Exception as error:  # torchvision for another torch, say
        raise ImportError(f"{name} is there, but cannot be imported: {_in_a_line(error)}", name=name) from error


def _own(given: Any) -> Any:
    """A configuration without what names code of others."""
    if isinstance(given, dict):
        return {key: _own(value) for key, value in given.items() if key not in _FOREIGN}
    return [_own(value) for value in given] if isinstance(given, list) else given


def _of_timm(name: str) -> Build:
    timm = _library("timm")
    if not timm.is_model(name):  # also names with a colon, which have timm read or fetch something
        known = timm.list_models()
        near = near_match(name, known)
        raise ValueError(f"timm has no model {name!r}; {near if near.startswith('did') else 'see timm.list_models()'}")
    return lambda: _running(f"timm's {name}", lambda: timm.create_model(name, pretrained=False))


def _of_function(source: str, module: str, name: str) -> Build:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError(f"{source!r} is none of transformers:CONFIG, timm:NAME and module.path:function")
    try:
        function: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{source}: {error}", name=error.name) from None
    except Exception as error:
        raise ValueError(f"{source}: {module} cannot be imported: {_in_a_line(error)}") from error
    for part in name.split("."):
        if not hasattr(function, part):
            raise ValueError(f"{source}: {module} has no {name!r}; {near_match(part, _public(function))}")
        function = getattr(function, part)
    return lambda: _running(source, function)


def _running(source: str, build: Callable[[], Any]) -> torch.nn.Module:
    try:
        model = build()
    except Exception as error:
        raise ValueError(f"{source} could not be built: {_in_a_line(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"{source} made a {type(model).__name__}, and no torch.nn.Module")
    return model


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _public(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]

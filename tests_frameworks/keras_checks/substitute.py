"""A pytest plugin: Keras's own initializers are replaced by ours wherever Keras's tests and layers find them."""

import sys
import types

import pytest


def skip_if_backend(given, reason):
    """What Keras's own conftest gives its tests."""
    import keras

    return pytest.mark.skipif(keras.backend.backend() == given, reason=reason)


conftest = types.ModuleType("conftest")
conftest.skip_if_backend = skip_if_backend
sys.modules["conftest"] = conftest

import keras.src.initializers as theirs

import fastinit.keras as ours

replaced = {getattr(theirs, name): getattr(ours, name) for name in ours.__all__}
for name in ours.__all__:
    setattr(theirs, name, getattr(ours, name))
for name, cls in theirs.ALL_OBJECTS_DICT.items():
    theirs.ALL_OBJECTS_DICT[name] = replaced.get(cls, cls)

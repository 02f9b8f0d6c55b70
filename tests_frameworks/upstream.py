"""Runs a framework's own test file with our functions in the place of its own; the files are in its source tree.

    python tests_frameworks/upstream.py torch PYTORCH/test/nn/test_init.py
    python tests_frameworks/upstream.py torch:cuda PYTORCH/test/nn/test_init.py    # its tensors on a GPU
    python tests_frameworks/upstream.py jax JAX/tests/nn_test.py NNInitializersTest

(`pip install expecttest` for torch's, `absl-py` for JAX's. Keras's are in its wheel: test_keras.py runs them.)
"""

import runpy
import sys


def substitute(framework, device=""):
    if framework == "torch":
        import torch

        import fastinit.torch

        if device:
            torch.set_default_device(device)
        torch.nn.init = sys.modules["torch.nn.init"] = fastinit.torch
    elif framework == "jax":
        import jax

        import fastinit.jax

        jax.nn.initializers = sys.modules["jax.nn.initializers"] = fastinit.jax
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    _, framework, path, *arguments = sys.argv
    framework, _, device = framework.partition(":")
    substitute(framework, device)
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")

"""Tests of the adapters; `make test-frameworks`. A framework that is missing is a failure here, not a skip."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")  # before jax is imported
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


@pytest.fixture(params=list(DTYPES), ids=list(DTYPES.values()))
def dtype(request):
    return request.param


def bits(tensor):
    """The elements of a tensor or array as integers, in C order."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().contiguous().cpu()
        return tensor.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]).numpy()
    tensor = np.ascontiguousarray(tensor)
    return tensor.view(f"i{tensor.itemsize}")


def same(a, b):
    """Whether two tensors or arrays have the same bits."""
    return tuple(a.shape) == tuple(b.shape) and bool((bits(a) == bits(b)).all())

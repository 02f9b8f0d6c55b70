"""torch: its in-place fills run on one core, under the generator's lock, whatever the threads."""

import peers

try:
    import torch
except ImportError:
    torch = None

NAME = "torch"
SLOW = {"uniform": 8, "normal": 8, "truncated ±2": 8, "truncated ±3": 8, "truncated [4, 6]": 256}


def version():
    return None if torch is None else torch.__version__


def _fill(tensor, distribution):
    if distribution == "uniform":
        return lambda: tensor.uniform_(-0.05, 0.05)
    if distribution == "normal":
        return lambda: tensor.normal_(0, 0.02)
    lower, upper = peers.DISTRIBUTIONS[distribution]
    return lambda: torch.nn.init.trunc_normal_(tensor, std=0.02, a=0.02 * lower, b=0.02 * upper)


def fill(memory, distribution, threads):
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(memory)
    return _fill(tensor.view(torch.bfloat16) if peers.dtype_of(memory) == "bfloat16" else tensor, distribution)


def fresh(elements, distribution, dtype):
    return lambda: _fill(torch.empty(elements, dtype=getattr(torch, dtype)), distribution)()


def orthogonal(shape, threads):
    torch.set_num_threads(threads)
    out = torch.zeros(shape)
    return lambda: torch.nn.init.orthogonal_(out)

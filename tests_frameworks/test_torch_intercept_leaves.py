"""What fastinit.torch.intercept leaves to torch: results, errors and generators as without it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import fastinit as fi
from conftest import same
from fastinit.torch import intercept


def by_torch(make, seed=3):
    """What a function makes with and without intercept, from the same state of torch's generator."""
    torch.manual_seed(seed)
    plain = make()
    torch.manual_seed(seed)
    with intercept(7) as filling:
        mine = make()
    return plain, mine, filling.fills


LEFT = {
    "complex": lambda: torch.randn(4, dtype=torch.complex64),
    "normal_ of complex": lambda: torch.empty(4, dtype=torch.complex64).normal_(),
    "integers": lambda: torch.randint(0, 1000, (9,)),
    "permutation": lambda: torch.randperm(50),
    "bernoulli": lambda: torch.empty(50).bernoulli_(),
    "dropout": lambda: nn.functional.dropout(torch.ones(50)),
    "exponential": lambda: torch.empty(9).exponential_(),
    "normal of tensors": lambda: torch.normal(torch.zeros(4), torch.ones(4)),
    "normal of a tensor and a number": lambda: torch.normal(torch.zeros(4), 1.0),
    "out": lambda: torch.randn(4, out=torch.empty(4)),
    "eye": lambda: nn.init.eye_(torch.empty(3, 4)),
    "dirac": lambda: nn.init.dirac_(torch.empty(3, 4, 5)),
    "constant": lambda: nn.init.constant_(torch.empty(3), 5.0),
    "narrow uniform": lambda: torch.empty(3).uniform_(0, 1e-44),
    "recorded": lambda: (torch.ones(3, requires_grad=True) * 2).normal_(),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_to_torch(what):
    plain, mine, fills = by_torch(LEFT[what])
    assert torch.equal(plain, mine)
    assert fills == 0


def test_subclasses_are_left_to_torch():
    class Sub(torch.Tensor):
        pass

    for make in (
        lambda: torch.empty(4).as_subclass(Sub).normal_(),
        lambda: torch.randn_like(torch.empty(4).as_subclass(Sub)),
    ):
        plain, mine, fills = by_torch(make)
        assert type(mine) is Sub
        assert torch.equal(plain, mine)
        assert fills == 0


def test_meta_and_fake_tensors_are_left_to_torch():
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with intercept(7) as filling:
        assert torch.randn(4, device="meta").is_meta
        with torch.device("meta"):
            model = nn.TransformerEncoderLayer(8, 2, 16)
            assert torch.randn(4).is_meta
        for name in ("normal_", "trunc_normal_", "orthogonal_", "xavier_normal_", "kaiming_uniform_"):
            getattr(nn.init, name)(model.linear1.weight)
        with FakeTensorMode():
            fake = nn.Linear(4, 4)
            assert isinstance(torch.randn(3), FakeTensor)
            nn.init.orthogonal_(fake.weight)
    assert filling.fills == 0
    assert all(p.is_meta for p in model.parameters())
    with torch.device("meta"), intercept(7) as filling:
        assert nn.Linear(3, 3).weight.is_meta
        assert torch.randn(4).is_meta
    assert filling.fills == 0


def error_of(case):
    try:
        case()
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("no error")


def test_errors_of_torch_stay():
    leaf = nn.Parameter(torch.zeros(4, 4))
    cases = {
        "leaf": lambda: leaf.normal_(),
        "leaf, uniform": lambda: leaf.uniform_(),
        "view of a leaf": lambda: leaf[0].normal_(),
        "std": lambda: torch.empty(3).normal_(0, -1),
        "init std": lambda: nn.init.normal_(torch.empty(3), std=-1),
        "range": lambda: torch.empty(3).uniform_(1, 0),
        "expanded": lambda: torch.empty(1).expand(3).normal_(),
        "fans": lambda: nn.init.xavier_uniform_(torch.empty(3)),
        "mode": lambda: nn.init.kaiming_normal_(torch.empty(3, 3), mode="x"),
        "orthogonal of a vector": lambda: nn.init.orthogonal_(torch.empty(3)),
        "cuts": lambda: nn.init.trunc_normal_(torch.empty(3), a=2, b=-2),
        "integers": lambda: torch.randn(3, dtype=torch.int64),
        "type": lambda: torch.empty(3).normal_("a"),
        "generator": lambda: torch.randn(3, generator=5),
        "size": lambda: torch.randn(-1),
    }
    for name, case in cases.items():
        plain = error_of(case)
        with intercept(7) as filling:
            assert error_of(case) == plain, name
        assert filling.fills == 0, name
    assert not leaf.any()
    with intercept(7), torch.no_grad():
        leaf.normal_()  # as torch allows
    assert leaf.any()


def test_inference_tensors():
    with torch.inference_mode():
        frozen = torch.zeros(4)
        with intercept(7):
            frozen.normal_()
    assert same(frozen, fi.normal(4, seed=7, name="0"))
    with intercept(7), pytest.raises(RuntimeError, match="inference"):
        frozen.normal_()


def test_functional_transforms_are_left_to_torch():
    draw = torch.func.vmap(lambda x: torch.randn_like(x) + torch.rand(2) + x, randomness="different")
    plain, mine, fills = by_torch(lambda: draw(torch.zeros(3, 2)))
    assert torch.equal(plain, mine)
    assert fills == 0
    for fill in (nn.init.orthogonal_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.trunc_normal_):
        for randomness in ("different", "error"):
            draw = torch.func.vmap(lambda x, fill=fill: fill(torch.empty(2, 2)) + x, randomness=randomness)
            plain = error_of(lambda draw=draw: draw(torch.zeros(2)))
            with intercept(7):
                assert error_of(lambda draw=draw: draw(torch.zeros(2))) == plain
        draw = torch.func.vmap(lambda x, fill=fill: fill(torch.empty(2, 2)) + x, randomness="same")
        plain, mine, fills = by_torch(lambda draw=draw: draw(torch.zeros(2)))
        assert torch.equal(plain, mine)
        assert fills == 0


FORKED = """
import torch
from fastinit.torch import intercept

class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.randn(1)

def draws():
    loader = torch.utils.data.DataLoader(
        Noise(), 4, num_workers=2, multiprocessing_context="fork", generator=torch.Generator().manual_seed(0)
    )
    return torch.cat(list(loader)).flatten()

plain = draws()
with intercept(7):
    mine = draws()
assert torch.equal(plain, mine)
assert len(mine.unique()) == 8
print("fine")
"""


def test_workers_that_are_forked_inside_are_left_to_torch():
    """All of them would go on from the same count. (In a Python of its own: forking beside JAX's threads may hang.)"""
    run = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False, timeout=120)
    assert run.stdout.strip() == "fine", run.stderr


def test_what_is_refused_advances_no_generator():
    def draw(generator):
        first = torch.empty(3).uniform_(0, 1e-44, generator=generator)
        return torch.cat([first, torch.empty(3, dtype=torch.float64).exponential_(generator=generator)])

    plain = draw(torch.Generator().manual_seed(3))
    with intercept(7) as filling:
        mine = draw(torch.Generator().manual_seed(3))
    assert torch.equal(plain, mine)
    assert filling.fills == 0

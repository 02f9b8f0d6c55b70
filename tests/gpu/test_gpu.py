"""fastinit on a GPU: golden hashes, the law, and the CPU's bits. Needs torch with CUDA; nothing but pytest besides.

SIZE=28: elements of the long comparisons, as a power of two; less under compute-sanitizer.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
import fastinit.cuda

sys.path.insert(0, str(Path(__file__).parent.parent))
from make_golden import GOLDEN, GOLDEN_ORTHOGONAL, GOLDEN_SPARSE, NAMES, hashed

try:
    import torch

    import fastinit.torch as ft

    MISSING = "" if torch.cuda.is_available() else "torch sees no CUDA device here"
except ImportError as error:
    MISSING, torch = str(error), None
MISSING = MISSING or fi.cuda.why_unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not tried on a GPU: {MISSING}")

SIZE = 1 << int(os.environ.get("SIZE", "28"))
NAMES_OF_DTYPES = ["float32", "float64", "float16", "bfloat16"]
INITIALIZERS = {
    "uniform": fi.init("uniform", low=-0.3, high=0.7),
    "uniform that holds": fi.init("uniform", low=1e-20, high=0.9),
    "normal": fi.init("normal", mean=0.25, std=1.5),
    "normal that is denormal": fi.init("normal", std=1e-41),
    "truncated": fi.init("truncated_normal", std=0.02),
    "truncated tails": fi.init("truncated_normal", lower=-3.0, upper=3.0),
    "truncated general": fi.init("truncated_normal", lower=-9.0, upper=-3.5),
    "truncated narrow": fi.init("truncated_normal", lower=1.0, upper=1.0005),
    "truncated exponential": fi.init("truncated_normal", lower=2000.0, upper=float("inf")),
    "constant": fi.init("constant", value=0.1),
}


def torch_dtype(name):
    return getattr(torch, name)


def host(tensor):
    """A tensor's elements as integers, in C order, on the CPU."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(bits).cpu().numpy()


def bits(array):
    return np.ascontiguousarray(array).view(f"i{array.itemsize}")


def same(tensor, array):
    return tuple(tensor.shape) == array.shape and bool((host(tensor) == bits(array)).all())


def lines_of(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", lines_of(GOLDEN), ids=lambda line: " ".join(line.split()[:3]))
def test_golden(line):
    kind, dtype, parameters, seed, name, _, _, first, count, expected = line.split(" ")
    named = dict(zip(NAMES[kind], map(float.fromhex, parameters.split(","))))
    recipe = fi.recipe(kind, 2**40, dtype=dtype, seed=int(seed), name=name, **named)
    made = torch.empty(int(count), dtype=torch_dtype(dtype), device="cuda")
    fi.cuda.fill(made, recipe, index=np.s_[int(first) : int(first) + int(count)])
    assert hashed(host(made)) == expected


@pytest.mark.parametrize("line", lines_of(GOLDEN_SPARSE), ids=lambda line: " ".join(line.split()[:3]))
def test_golden_sparse(line):
    rows, columns, dtype, sparsity, std, seed, name, *_, expected = line.split(" ")
    given = {"sparsity": float.fromhex(sparsity), "std": float.fromhex(std)}
    recipe = fi.recipe("sparse", (int(rows), int(columns)), dtype=dtype, seed=int(seed), name=name, **given)
    assert (
        hashed(host(ft.fill_(torch.empty(recipe.shape, dtype=torch_dtype(dtype), device="cuda"), recipe))) == expected
    )


@pytest.mark.parametrize("line", lines_of(GOLDEN_ORTHOGONAL), ids=lambda line: " ".join(line.split()[:3]))
def test_golden_orthogonal(line):
    rows, columns, dtype, gain, seed, name, *_, expected = line.split(" ")
    given = {"gain": float.fromhex(gain), "dtype": dtype, "seed": int(seed), "name": name}
    recipe = fi.recipe("orthogonal", (int(rows), int(columns)), **given)
    made = torch.empty(recipe.shape, dtype=torch_dtype(dtype), device="cuda")
    fi.cuda.fill(made, recipe)
    assert hashed(host(made)) == expected


@pytest.mark.parametrize("dtype", NAMES_OF_DTYPES)
@pytest.mark.parametrize(
    "shape", [(4096, 4096), (65536, 512), (512, 65536), (1500, 1337), (1337, 1500), (129, 128), (70000, 3), (9000, 1000)], ids=str
)  # fmt: skip
def test_orthogonal_has_the_cpus_bits(shape, dtype):
    if shape[0] * shape[1] > 1 << 22 and (dtype not in ("float32", "bfloat16") or SIZE < 1 << 28):
        pytest.skip("takes the CPU long")
    recipe = fi.recipe("orthogonal", shape, gain=0.7, dtype=dtype, seed=1, name="large")
    made = torch.full(shape, 7.0, dtype=torch_dtype(dtype), device="cuda")
    fi.cuda.fill(made, recipe)
    expected = recipe[...]
    assert same(made, expected)
    assert same(ft.fill_(torch.empty(shape[::-1], dtype=torch_dtype(dtype), device="cuda").T, recipe), expected)


@pytest.mark.parametrize("case", range(60))
def test_any_region_of_orthogonal_on_any_stream(case):
    random = np.random.default_rng(case)
    dtype = NAMES_OF_DTYPES[case % 4]
    shape = [(300, 257), (257, 300), (1500, 150), (3, 40, 50), (150, 2, 4)][case % 5]
    recipe = fi.recipe("orthogonal", shape, gain=[1.0, 0.3][case % 2], dtype=dtype, seed=3, name="law")
    if case % 3 == 0 and len(shape) == 3:
        inside, outside = (0, 1) if shape[0] <= shape[1] else (1, 0)
        recipe = fi.recipe("delta_orthogonal", shape, in_axis=inside, out_axis=outside, dtype=dtype, seed=3, name="law")
    for _ in range(3):  # R^-1 of a tall one is kept, and used by other streams
        index = tuple(random_slice(random, n) for n in shape)
        expected = recipe[index]
        made = torch.full([2 * n for n in expected.shape], -7.0, dtype=torch_dtype(dtype), device="cuda")
        view = made[tuple(slice(None, None, 2) for _ in shape)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            fi.cuda.fill(view, recipe, index=index)
        torch.cuda.current_stream().wait_stream(stream)
        assert same(view, expected)
        assert int((made == -7.0).sum()) >= made.numel() - expected.size


@pytest.mark.parametrize("shape", [(600, 500), (4000, 300)])
def test_orthogonal_captured_by_a_graph(shape):
    """All that it works in is the graph's own: the recipe may be gone when it is replayed."""
    tensor = torch.zeros(shape, device="cuda")
    ft.orthogonal_(tensor, seed=0, name="w")  # compiles
    expected = tensor.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ft.orthogonal_(tensor, seed=0, name="w")
    for _ in range(3):
        tensor.zero_()
        graph.replay()
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("dtype", NAMES_OF_DTYPES)
@pytest.mark.parametrize("which", INITIALIZERS)
def test_the_cpus_bits(which, dtype):
    if "denormal" in which and dtype in ("float16", "bfloat16"):
        pytest.skip("is all zeros")
    recipe = fi.recipe(INITIALIZERS[which], SIZE + 3, dtype=dtype, seed=1, name="long")
    part = recipe.part(np.s_[3:])  # begins within a block
    made = torch.empty(SIZE, dtype=torch_dtype(dtype), device="cuda")
    fi.cuda.fill(made, part)
    expected = part[...]
    step = 1 << 26
    for low in range(0, SIZE, step):
        there = torch.from_numpy(bits(expected[low : low + step])).cuda()
        assert torch.equal(made[low : low + step].view(there.dtype), there)


def random_slice(random, n):
    step = int(random.choice([1, 1, 2, 3, -1, -2]))
    low, high = sorted(int(k) for k in random.integers(0, n + 1, 2))
    return slice(low, high, step) if step > 0 else slice(high, low, step)


@pytest.mark.parametrize("case", range(300))
def test_any_region_in_any_layout_on_any_stream(case):
    random = np.random.default_rng(case)
    dtype = NAMES_OF_DTYPES[case % 4]
    initializer = list(INITIALIZERS.values())[random.integers(len(INITIALIZERS))]
    if initializer == INITIALIZERS["normal that is denormal"]:
        initializer = INITIALIZERS["normal"]
    shape = tuple(int(n) for n in random.integers(1, 40, random.integers(1, 4)))
    recipe = fi.recipe(initializer, shape, dtype=dtype, seed=3, name="law")
    if case % 3 == 0:
        other = fi.recipe("normal", shape, dtype=dtype, seed=4, name="other")
        recipe = fi.concatenate([recipe, other, fi.literal(other[...])], axis=-1)
    index = tuple(random_slice(random, n) for n in recipe.shape)
    expected = recipe[index]
    order = random.permutation(len(shape))
    gaps = random.integers(1, 3, len(shape))
    memory = torch.full(
        [int(expected.shape[k] * gaps[k]) for k in order], -7.0, dtype=torch_dtype(dtype), device="cuda"
    )
    view = memory[tuple(slice(None, None, int(gaps[k])) for k in order)].permute([int(k) for k in np.argsort(order)])
    stream = torch.cuda.Stream() if case % 2 else torch.cuda.current_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        fi.cuda.fill(view, recipe, index=index)
    torch.cuda.current_stream().wait_stream(stream)
    assert same(view, expected)
    if expected.size:
        assert int((memory == -7.0).sum()) >= memory.numel() - expected.size


@pytest.mark.parametrize("power", [32, 34, 60])
def test_far_elements(power):
    for dtype in NAMES_OF_DTYPES:
        recipe = fi.recipe("normal", 2**62 - 1, dtype=dtype, seed=1, name="far")
        index = np.s_[2**power - 5 : 2**power + 100_003]
        made = torch.empty(100_008, dtype=torch_dtype(dtype), device="cuda")
        fi.cuda.fill(made, recipe, index=index)
        assert same(made, recipe[index])


FILLS = {
    "uniform_": {"a": -0.1},
    "normal_": {"std": 0.02},
    "trunc_normal_": {"std": 0.5, "b": 0.7},
    "xavier_uniform_": {},
    "xavier_normal_": {},
    "kaiming_uniform_": {"a": 5**0.5},
    "kaiming_normal_": {},
    "sparse_": {"sparsity": 0.3},
    "orthogonal_": {"gain": 0.5},
}


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("dtype", NAMES_OF_DTYPES)
def test_torchs_functions_after_one_manual_seed(name, dtype):
    made = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(7)
        tensor = torch.empty(513, 257, dtype=torch_dtype(dtype), device=device)
        made[device] = getattr(ft, name)(tensor.T if name == "normal_" else tensor, **FILLS[name])
    assert torch.equal(made["cpu"], made["cuda"].cpu())


def test_a_generator_of_the_device():
    generator = torch.Generator("cuda").manual_seed(3)
    first = ft.normal_(torch.empty(100, device="cuda"), generator=generator)
    generator.manual_seed(3)
    assert torch.equal(first, ft.normal_(torch.empty(100, device="cuda"), generator=generator))


def test_captured_by_a_graph():
    tensor = torch.zeros(1000, 100, device="cuda")
    ft.normal_(tensor, seed=0, name="w")  # compiles
    expected = tensor.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ft.normal_(tensor, seed=0, name="w")
    tensor.zero_()
    graph.replay()
    assert torch.equal(tensor, expected)


def test_intercept_and_a_module_on_meta():
    with ft.intercept(seed=1) as count:
        there = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.LayerNorm(20), torch.nn.Embedding(9, 4)).cuda()
        torch.nn.init.trunc_normal_(there[0].weight, std=0.02)
        assert torch.randn(5, 5, device="cuda").is_cuda
    with ft.intercept(seed=1):
        here = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.LayerNorm(20), torch.nn.Embedding(9, 4))
        torch.nn.init.trunc_normal_(here[0].weight, std=0.02)
    assert count.fills == 5
    for a, b in zip(here.parameters(), there.parameters()):
        assert torch.equal(a, b.cpu())
    rules = {"0.weight": "orthogonal", "*.weight": "normal", "*": "zeros"}
    for device in ("cpu", "cuda"):
        with torch.device("meta"):
            model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 10))
        ft.init_module_(model, rules, seed=5, device=device)
        if device == "cpu":
            expected = [parameter.detach().clone() for parameter in model.parameters()]
    for a, b in zip(expected, model.parameters()):
        assert torch.equal(a, b.detach().cpu())


def test_fsdp2_on_one_gpu(tmp_path):
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 64))
        expected = ft.init_module_(
            torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 64)), {"*": "uniform"}
        )
        model.cuda()
        fully_shard(model, mesh=torch.distributed.init_device_mesh("cuda", (1,)))
        ft.init_module_(model, {"*": "uniform"})
        for a, b in zip(expected.parameters(), model.parameters()):
            assert torch.equal(a, b.full_tensor().cpu())
    finally:
        torch.distributed.destroy_process_group()


def test_cupy():
    cupy = pytest.importorskip("cupy")
    recipe = fi.recipe("normal", (70, 50), seed=0, name="w")
    array = cupy.zeros((50, 70), cupy.float32)
    with cupy.cuda.Stream():
        fi.cuda.fill(array.T, recipe)
        assert (cupy.asnumpy(array.T).view(np.int32) == bits(recipe[...])).all()


def test_jax():
    jax = pytest.importorskip("jax")
    if not any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("JAX sees no GPU")
    from fastinit.jax import array

    recipe = fi.recipe("normal", (700, 50), dtype="bfloat16", seed=0, name="w")
    made = array(recipe, jax.sharding.SingleDeviceSharding(jax.devices("gpu")[0]))
    assert (np.asarray(made).view(np.int16) == bits(recipe[...])).all()
    with pytest.raises(TypeError, match="cannot be changed"):
        fi.cuda.fill(made, recipe)


def test_what_is_refused():
    recipe = fi.recipe("normal", (5, 5), seed=0)
    with pytest.raises(TypeError, match="in the CPU's memory"):
        fi.cuda.fill(torch.empty(5, 5), recipe)
    with pytest.raises(TypeError, match=r"memory of the CPU|in the CPU's memory"):
        fi.cuda.fill(torch.empty(5, 5).pin_memory(), recipe)
    with pytest.raises(ValueError, match="overlaps itself"):
        fi.cuda.fill(torch.empty(9, device="cuda").as_strided((5, 5), (1, 1)), recipe)
    found = fi.cuda.describe()
    assert found["missing"] is None
    assert found["devices"]

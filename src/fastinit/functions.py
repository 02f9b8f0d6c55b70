"""The initializing functions: each describes a tensor by a recipe, then fills memory with its values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from . import plan
from .arrays import allocate, as_output, check_shape, dtype_name, is_shape
from .initializers import cached_init
from .kinds.composed import Pasted
from .kinds.kind import Kind
from .kinds.literal import literal_of_array
from .kinds.making import concatenated, stacked
from .progress import Report, check_report
from .recipe import Part, Recipe, check_same_shape, kind_of_part, named_kind
from .threads import check_threads

__all__ = [
    "concatenate",
    "constant",
    "delta_orthogonal",
    "dirac",
    "eye",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "literal",
    "normal",
    "ones",
    "orthogonal",
    "paste",
    "sparse",
    "stack",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

# ---- documentation shared by the functions -----------------------------------------------------------------

_OUT = """out : array or shape
        Writable memory of float32, float64, float16 or bfloat16 elements, of any strides, to fill in place; or a
        shape, to allocate an array (C order, 64-byte aligned)."""

_COMMON = """seed : int, optional
        At least 0, below 2**128; fresh entropy from the operating system unless given.
    name : str, optional
        Name of the tensor. Equal seed and name share bits: give every parameter its own.
    dtype : dtype, optional
        With a shape: float32 (default), float64, float16 or "bfloat16". With an array it must agree; a uint16 array
        is taken as the bits of bfloat16 where that is asked for.
    shape, index : optional
        `out` is the region `index` (NumPy basic index) of a tensor of that global shape; needs a seed.
    threads : int, optional
        At most this many threads; default `get_num_threads()`. Values do not depend on it.

    Returns
    -------
    array
        `out`, or the new array.

    Raises
    ------
    TypeError, ValueError, IndexError
        Before a byte is written."""

_SCALE = """in_axis, out_axis, batch_axis : int or tuple of int, optional
        Axes of the global shape, JAX's names and defaults; a torch weight is ``in_axis=1, out_axis=0``. The
        remaining axes are the receptive field, whose size multiplies both fans.
    fan_in, fan_out : int, optional
        Instead of those of the global shape.
    gain : float, optional
        Multiplies the standard deviation."""

_PROGRESS = """progress : bool or callable, optional
        True for a bar (needs tqdm), or a function of (done, total), called now and then."""

_PLAIN = """Plain normal unless ``truncated=True``, unlike JAX and Keras, which truncate under this name."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _documented(function: _Function) -> _Function:
    if function.__doc__:  # None under python -OO
        function.__doc__ = function.__doc__.format(
            out=_OUT, common=_COMMON, scale=_SCALE, plain=_PLAIN, progress=_PROGRESS
        )
    return function


def _fill(
    initializer: str,
    out: Any,
    parameters: dict[str, Any],
    seed: int | None,
    name: str,
    dtype: Any,
    shape: Any,
    index: Any,
    threads: int | None,
    progress: Report = None,
) -> Any:
    """All functions: describe the tensor, then write `out`'s region of it."""
    if shape is None and index is not None:
        raise TypeError("index= is a region of a tensor: give its global shape=")
    if shape is not None and seed is None:
        raise ValueError("shape= and index= need a seed=: without it each region would be of another tensor")
    array = None
    if is_shape(out):
        local, kind = check_shape(out), dtype_name("float32" if dtype is None else dtype)
    else:
        array, kind = as_output(out, dtype)
        local = array.shape  # NumPy has checked it
    whole = local if shape is None else check_shape(shape)
    described = Recipe._of(named_kind(cached_init(initializer, parameters), whole, kind, seed, name))
    region = described._region if index is None else plan.select(described._region, index)
    if shape is not None:
        check_same_shape(local, region.shape)
    if threads is not None:
        threads = check_threads(threads)
    if progress is not None:
        check_report(progress)
    if array is None:
        array = out = allocate(local, kind)
    described._fill(region, array, None, threads, progress)
    return out


# ---- direct ------------------------------------------------------------------------------------------------


@_documented
def uniform(
    out: Any,
    low: float = 0.0,
    high: float = 1.0,
    *,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Uniform on [low, high): the upper end is never returned, whatever the dtype rounds to.

    Parameters
    ----------
    {out}
    low, high : float, optional
        Ends of the interval, finite in float32 (in float64 for that dtype); equal ones give a constant.
    {common}

    Notes
    -----
    24 random bits in float32, float16 and bfloat16, 53 in float64.
    """
    return _fill("uniform", out, {"low": low, "high": high}, seed, name, dtype, shape, index, threads)


@_documented
def normal(
    out: Any,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Normal: N(mean, std^2), as embeddings (std 0.02) and small-random schemes (std 0.01) use it.

    Parameters
    ----------
    {out}
    mean, std : float, optional
        Mean and standard deviation; std = 0 gives the mean.
    {common}

    Notes
    -----
    Box and Muller (1958) on pairs of neighbouring elements; float32 draws end at 6.66 standard deviations,
    float64 ones at 8.65.
    """
    return _fill("normal", out, {"mean": mean, "std": std}, seed, name, dtype, shape, index, threads)


@_documented
def truncated_normal(
    out: Any,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    lower: float = -2.0,
    upper: float = 2.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Normal cut at ``mean + lower * std`` and ``mean + upper * std``.

    Parameters
    ----------
    {out}
    mean, std : float, optional
        Of the normal distribution before it is cut.
    lower, upper : float, optional
        In units of std about the mean (torch's ``a`` and ``b`` are absolute); may be infinite.
    {common}

    Notes
    -----
    One pass by the inverse distribution function, accurate in either tail; nothing is rejected or piled up at a
    bound. The standard deviation of the values is `Recipe.std`: 0.8796 std for the default bounds.
    """
    parameters = {"mean": mean, "std": std, "lower": lower, "upper": upper}
    return _fill("truncated_normal", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def constant(
    out: Any,
    value: float,
    *,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """One value everywhere, rounded once to the dtype.

    Parameters
    ----------
    {out}
    value : float
        Infinities and NaN are allowed; a finite value must not overflow the dtype.
    {common}
    """
    return _fill("constant", out, {"value": value}, _no_seed(seed), name, dtype, shape, index, threads)


@_documented
def zeros(
    out: Any,
    *,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Zeros, as for biases.

    Parameters
    ----------
    {out}
    {common}
    """
    return _fill("zeros", out, {}, _no_seed(seed), name, dtype, shape, index, threads)


@_documented
def ones(
    out: Any,
    *,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Ones, as for the scales of norms.

    Parameters
    ----------
    {out}
    {common}
    """
    return _fill("ones", out, {}, _no_seed(seed), name, dtype, shape, index, threads)


@_documented
def eye(
    out: Any,
    gain: float = 1.0,
    *,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """`gain` on the main diagonal of a matrix, zeros elsewhere.

    Parameters
    ----------
    {out}
    gain : float, optional
        Value on the diagonal.
    {common}
    """
    return _fill("eye", out, {"gain": gain}, _no_seed(seed), name, dtype, shape, index, threads)


@_documented
def dirac(
    out: Any,
    groups: int = 1,
    *,
    in_axis: int | tuple[int, ...] = 1,
    out_axis: int | tuple[int, ...] = 0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """A convolution that copies its input channels, as far as there are output channels: ``torch.nn.init.dirac_``.

    Zeros, with ones at the spatial centre ``k // 2`` where output channel and input channel have the same number.

    Parameters
    ----------
    {out}
    groups : int, optional
        The output channels are that many equal groups; each of them copies the input channels from the first on.
    in_axis, out_axis : int, optional
        Axes of the global shape, torch's unless given; the others are spatial. A kernel of JAX or Keras is
        ``in_axis=-2, out_axis=-1``.
    {common}
    """
    parameters = {"groups": groups, "in_axis": in_axis, "out_axis": out_axis}
    return _fill("dirac", out, parameters, _no_seed(seed), name, dtype, shape, index, threads)


@_documented
def sparse(
    out: Any,
    sparsity: float,
    *,
    std: float = 0.01,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
    progress: Report = None,
) -> Any:
    """A matrix of N(0, std^2) with ``ceil(sparsity * rows)`` zeros in each column: ``torch.nn.init.sparse_``.

    Parameters
    ----------
    {out}
    sparsity : float
        The share of each column that is zero, from 0 to 1.
    std : float, optional
        Standard deviation of the normal distribution.
    {progress}
    {common}

    Notes
    -----
    The zeros of a column are where its uniforms are least. The uniforms are `uniform` in float64 of the transposed
    shape and of the same seed, its name with ``"/zeros"`` appended. A region of a few rows costs as much as its whole
    columns, since the zeros of a column are found together.

    References
    ----------
    Martens, "Deep learning via Hessian-free optimization", ICML 2010.
    """
    parameters = {"sparsity": sparsity, "std": std}
    return _fill("sparse", out, parameters, seed, name, dtype, shape, index, threads, progress)


def _no_seed(seed: int | None) -> int:
    """Nothing random: any seed gives the same values, so regions need none."""
    return 0 if seed is None else seed


# ---- scaled by fans ------------------------------------------------------------------------------------------


@_documented
def variance_scaling(
    out: Any,
    scale: float,
    mode: str,
    distribution: str,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Variance scale/fan, the family of which the named initializers are members.

    Parameters
    ----------
    {out}
    scale : float
        Variance times fan.
    mode : str
        fan_in, fan_out, fan_avg (their mean) or fan_geo_avg (their geometric mean).
    distribution : str
        uniform: U(-b, b), b = sqrt(3 scale/fan). normal: N(0, scale/fan), not truncated.
        truncated_normal: cut at -2 and 2 of a standard deviation that leaves the variance scale/fan.
    {scale}
    {common}

    Notes
    -----
    torch's default for Linear, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), is
    ``variance_scaling(out, 1/3, "fan_in", "uniform", in_axis=1, out_axis=0)``.
    """
    parameters = {
        "scale": scale, "mode": mode, "distribution": distribution,
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain,
    }  # fmt: skip
    return _fill("variance_scaling", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def glorot_uniform(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Glorot (Xavier) uniform: variance 2/(fan_in + fan_out). For sigmoid and tanh.

    Parameters
    ----------
    {out}
    {scale}
    {common}

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain,
    }  # fmt: skip
    return _fill("glorot_uniform", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def glorot_normal(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    truncated: bool = False,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """Glorot (Xavier) normal: variance 2/(fan_in + fan_out). For sigmoid and tanh.

    {plain}

    Parameters
    ----------
    {out}
    {scale}
    truncated : bool, optional
        Cut at two standard deviations, widened so that the variance is the same.
    {common}

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain, "truncated": truncated,
    }  # fmt: skip
    return _fill("glorot_normal", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def he_uniform(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    negative_slope: float = 0.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """He (Kaiming) uniform: variance 2/((1 + negative_slope^2) fan_in). For the ReLU family.

    Parameters
    ----------
    {out}
    {scale}
    negative_slope : float, optional
        Of a leaky ReLU.
    {common}

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain, "negative_slope": negative_slope,
    }  # fmt: skip
    return _fill("he_uniform", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def he_normal(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    truncated: bool = False,
    negative_slope: float = 0.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """He (Kaiming) normal: variance 2/((1 + negative_slope^2) fan_in). For the ReLU family.

    {plain}

    Parameters
    ----------
    {out}
    {scale}
    truncated : bool, optional
        Cut at two standard deviations, widened so that the variance is the same.
    negative_slope : float, optional
        Of a leaky ReLU.
    {common}

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain,
        "truncated": truncated, "negative_slope": negative_slope,
    }  # fmt: skip
    return _fill("he_normal", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def lecun_uniform(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """LeCun uniform: variance 1/fan_in. For SELU and linear layers.

    Parameters
    ----------
    {out}
    {scale}
    {common}

    References
    ----------
    LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998.
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain,
    }  # fmt: skip
    return _fill("lecun_uniform", out, parameters, seed, name, dtype, shape, index, threads)


@_documented
def lecun_normal(
    out: Any,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    batch_axis: int | tuple[int, ...] = (),
    fan_in: int | None = None,
    fan_out: int | None = None,
    gain: float = 1.0,
    truncated: bool = False,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
) -> Any:
    """LeCun normal: variance 1/fan_in. For SELU and linear layers.

    {plain}

    Parameters
    ----------
    {out}
    {scale}
    truncated : bool, optional
        Cut at two standard deviations, widened so that the variance is the same.
    {common}

    References
    ----------
    LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998.
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """
    parameters = {
        "in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis,
        "fan_in": fan_in, "fan_out": fan_out, "gain": gain, "truncated": truncated,
    }  # fmt: skip
    return _fill("lecun_normal", out, parameters, seed, name, dtype, shape, index, threads)


# ---- orthogonal ----------------------------------------------------------------------------------------------


@_documented
def orthogonal(
    out: Any,
    gain: float = 1.0,
    *,
    in_axis: int | tuple[int, ...] | None = None,
    out_axis: int | tuple[int, ...] = -1,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
    progress: Report = None,
) -> Any:
    """A matrix with orthonormal columns, or rows where it is wide, drawn from the Haar measure, times `gain`.

    For recurrent and deep linear networks. A tensor of more than two axes is the matrix of prod(shape[out_axis])
    columns; its other axes are the rows.

    Parameters
    ----------
    {out}
    gain : float, optional
        Multiplies every element; of either sign.
    in_axis, out_axis : int or tuple of int, optional
        Axes of the global shape: all that are not out_axis are rows. A torch weight is ``in_axis=1, out_axis=0``.
    {progress}
    {common}

    Notes
    -----
    The Q of the QR factorisation of a Gaussian matrix, with R's diagonal positive (Stewart 1980; Mezzadri 2007). The
    Gaussian is `normal` of the same seed, name and shape. Every sum has a fixed order, so that values do not depend on
    threads or CPU.

    From a ratio of the sides of 8 on, Q is G R^-1 with R by Cholesky, and rows (columns of a wide one) are made one by
    one: a slice of a recipe along the long side costs R, once, and its own part. Below that ratio Householder
    reflectors are drawn instead of computed; there a slice of columns (rows of a wide one) costs its share, any other
    somewhat more than the whole.

    Memory beyond the output: a few panels of 128 columns; from that ratio on about two times min(m, n)^2 elements. For
    16-bit dtypes, and memory that is contiguous along neither rows nor columns, also a twentieth of the columns in
    float32 (float64).

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014.
    Stewart, "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17, 1980.
    Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54, 2007.
    """
    parameters = {"gain": gain, "in_axis": in_axis, "out_axis": out_axis}
    return _fill("orthogonal", out, parameters, seed, name, dtype, shape, index, threads, progress)


@_documented
def delta_orthogonal(
    out: Any,
    gain: float = 1.0,
    *,
    in_axis: int | tuple[int, ...] = -2,
    out_axis: int | tuple[int, ...] = -1,
    seed: int | None = None,
    name: str = "",
    dtype: Any = None,
    shape: Any = None,
    index: Any = None,
    threads: int | None = None,
    progress: Report = None,
) -> Any:
    """Zeros with an orthogonal (in, out) matrix at the spatial centre ``(k - 1) // 2``: a convolution that keeps norms.

    For deep convolutional networks. The matrix is `orthogonal` of shape (in, out) with the same seed and name.

    Parameters
    ----------
    {out}
    gain : float, optional
        Multiplies every element; of either sign.
    in_axis, out_axis : int or tuple of int, optional
        Axes of the global shape; the others are spatial. A torch weight is ``in_axis=1, out_axis=0``. There must be as
        many output channels as input channels, or more.
    {progress}
    {common}

    References
    ----------
    Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington, "Dynamical isometry and a mean field theory of CNNs", ICML
    2018.
    """
    parameters = {"gain": gain, "in_axis": in_axis, "out_axis": out_axis}
    return _fill("delta_orthogonal", out, parameters, seed, name, dtype, shape, index, threads, progress)


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


# ---- tensors made of others --------------------------------------------------------------------------------


def concatenate(recipes: Iterable[Part], axis: int = 0, groups: int = 1) -> Recipe:
    """Tensors one behind the other along an axis, as one: fused weights, each of which keeps its own name and fan.

    Parameters
    ----------
    recipes : iterable of Recipe or Part
        Of one dtype, their shapes equal but along `axis`.
    axis : int, optional
        Counted from the end where it is negative.
    groups : int, optional
        Each tensor is cut into so many equal pieces along `axis`: first comes piece 0 of each, then piece 1 of each,
        and so on. That is how query, key and value of each group of heads lie in a fused weight.

    Returns
    -------
    Recipe
        Its seed and name are None: every part of it is what it is by itself.

    Raises
    ------
    TypeError, ValueError
        What is no recipe, or does not fit the others; more than 65,536
        tensors, the result and all within it, or nested deeper than 64.

    See Also
    --------
    stack, paste, Recipe.transpose, Recipe.reshape

    Examples
    --------
    >>> import fastinit as fi
    >>> q = fi.recipe("glorot_normal", (512, 512), seed=0, name="q")
    >>> k, v = (fi.recipe("glorot_normal", (64, 512), seed=0, name=name) for name in "kv")
    >>> qkv = fi.concatenate([q, k, v])
    >>> bool((qkv[512:576] == k[...]).all())
    True
    """
    kinds = _kinds(recipes, "concatenate")
    return Recipe._of(concatenated(kinds, _integer(axis, "axis"), _integer(groups, "groups")))


def stack(recipes: Iterable[Part], axis: int = 0) -> Recipe:
    """Tensors of one shape along a new axis, as one: the experts of a layer.

    Parameters
    ----------
    recipes : iterable of Recipe or Part
        Of one shape and dtype.
    axis : int, optional
        Where the new axis stands in the result; counted from the end where it is negative.

    Returns
    -------
    Recipe
        Its seed and name are None: every tensor in it is what it is by itself, with its own fan.

    Raises
    ------
    TypeError, ValueError
        What is no recipe, or does not fit the others; more than 65,536
        tensors, the result and all within it, or nested deeper than 64.

    See Also
    --------
    concatenate
    """
    return Recipe._of(stacked(_kinds(recipes, "stack"), _integer(axis, "axis")))


def paste(onto: Part, index: Any, what: Part) -> Recipe:
    """A tensor, but for a region of it that is another tensor: a row of zeros for padding.

    Parameters
    ----------
    onto : Recipe or Part
        The tensor.
    index : index
        NumPy basic index of a region of it, such as ``np.s_[0]``, without new axes.
    what : Recipe or Part
        Of the region's shape, and of the same dtype.

    Returns
    -------
    Recipe
        Its seed and name are None.

    Raises
    ------
    TypeError, ValueError, IndexError
        What is no recipe, or does not fit the other.

    Examples
    --------
    >>> import numpy as np, fastinit as fi
    >>> table = fi.recipe("normal", (1000, 64), seed=0, name="emb")
    >>> padded = fi.paste(table, np.s_[0], fi.recipe("zeros", (64,), seed=0))
    >>> bool((padded[0] == 0).all() and (padded[1:] == table[1:]).all())
    True
    """
    whole, piece = _kinds([onto, what], "paste")
    return Recipe._of(Pasted(whole, plan.select(whole.region, index), piece))


def literal(array: Any, dtype: Any = None) -> Recipe:
    """Values as they are given, for small tensors that no initializer makes.

    Parameters
    ----------
    array : array_like
        float32, float64, float16 or bfloat16. The values are copied.
    dtype : dtype, optional
        Must agree with the array's; "bfloat16" takes a uint16 array for its bits.

    Returns
    -------
    Recipe
        Its seed and name are None. Its dict has the values themselves.

    Raises
    ------
    TypeError
        Another dtype: nothing is rounded or converted.
    """
    return Recipe._of(literal_of_array(array, dtype))


def _kinds(recipes: Iterable[Part], what: str) -> list[Kind]:
    if isinstance(recipes, Part):
        raise TypeError(f"{what} takes a list of recipes, not a single one")
    kinds = []
    for piece in recipes:
        if not isinstance(piece, Part):
            raise TypeError(
                f"{what} takes recipes, not {type(piece).__name__}: see fastinit.recipe and fastinit.literal"
            )
        kinds.append(kind_of_part(piece))
    if not kinds:
        raise ValueError(f"{what} needs at least one recipe")
    return kinds


def _integer(value: Any, what: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}") from None

"""Keys and seeds, recipes and shardings: global arrays whose shards are made where they live."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..cuda import why_unavailable
from ..cuda.driver import installed
from ..cuda.exporting import Export
from ..recipe import Part
from ..stream import seed_from_words


def seed_of(key: Any) -> int:
    """The seed that a PRNG key stands for: its words of 32 bits, the first one lowest.

    Parameters
    ----------
    key : Array
        One key, of ``jax.random.key`` or ``jax.random.PRNGKey``; not traced.

    Returns
    -------
    int
        ``sum(word << 32 * k for k, word in enumerate(jax.random.key_data(key)))``
    """
    words = jax.random.key_data(key)
    if words.ndim != 1:
        raise ValueError(f"one key is needed, not an array of keys of shape {words.shape[:-1]}")
    return seed_from_words(np.asarray(words))


def array(recipe: Part, sharding: Any) -> jax.Array:
    """A global array with a recipe's values, each shard made for the device where it lives.

    Parameters
    ----------
    recipe : Recipe or Part
        Gives shape and dtype; see `fastinit.recipe`.
    sharding : jax.sharding.Sharding
        Over any mesh, of several processes too: each makes the shards that it can address. Shards that are replicated
        are made once. Shards on CUDA devices are made there, where `fastinit.cuda` can.

    Returns
    -------
    Array

    Raises
    ------
    ValueError
        float64 without ``jax_enable_x64``.
    """
    if not isinstance(recipe, Part):
        raise TypeError(f"a Recipe is needed, not {type(recipe).__name__}: see fastinit.recipe")
    check_dtype(recipe.dtype)
    made: dict[tuple[Any, ...], np.ndarray] = {}

    def shard(index: tuple[slice, ...]) -> np.ndarray:
        where = tuple(along.indices(n) for along, n in zip(index, recipe.shape))
        if where not in made:
            made[where] = recipe[index]
        return made[where]

    there = {device for device in sharding.addressable_devices if _is_filled_there(device, sharding)}
    if recipe.size == 0 or not there:
        return jax.make_array_from_callback(recipe.shape, sharding, shard)
    shards = [
        jax.dlpack.from_dlpack(Export(installed(), device.local_hardware_id, recipe.part(index)), device=device)
        if device in there
        else jax.device_put(shard(index), device)
        for device, index in sharding.addressable_devices_indices_map(recipe.shape).items()
    ]
    return jax.make_array_from_single_device_arrays(recipe.shape, sharding, shards)


def _is_filled_there(device: Any, sharding: Any) -> bool:
    """Whether a shard is made in the device's own memory, without one in the CPU's."""
    in_its_memory = sharding.memory_kind in (None, device.default_memory().kind)
    return _is_cuda(device) and in_its_memory and not why_unavailable()


def _is_cuda(device: Any) -> bool:
    return device.platform in ("cuda", "gpu") and "NVIDIA" in device.device_kind.upper()


def placement(beside: Any, given: Any) -> Any:
    """The sharding that is given, or that of the mesh in use, or of an array that was put somewhere; else None."""
    if isinstance(given, jax.sharding.NamedSharding) and isinstance(given.mesh, jax.sharding.Mesh):
        return given
    if not jax.sharding.get_abstract_mesh().empty:
        mesh = jax.sharding.get_mesh()
        spec = getattr(given, "spec", given)  # of a NamedSharding over an abstract mesh, or a PartitionSpec
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec() if spec is None else spec)
    if given is not None:
        raise ValueError(f"{given} does not say which devices: enter jax.set_mesh, or give a mesh of devices")
    if isinstance(beside, jax.Array) and beside.committed:
        return beside.sharding
    return None


def check_dtype(dtype: Any) -> None:
    """JAX would silently make float32 of float64."""
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("float64 needs 64-bit types in JAX: jax.config.update('jax_enable_x64', True)")

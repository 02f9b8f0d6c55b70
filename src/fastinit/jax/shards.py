"""Arithmetic on recipes, done shard by shard on the devices where the shards live."""

from __future__ import annotations

from typing import Any

import jax

from .contents import Computed, read


def computed(content: Computed, sharding: Any) -> jax.Array:
    """The global array, by one computation for each shard; on the default device without a sharding."""
    if sharding is None:
        return read(content, tuple(slice(0, n) for n in content.shape))
    shards = []
    for device, index in sharding.addressable_devices_indices_map(content.shape).items():
        region = tuple(slice(*along.indices(n)[:2]) for along, n in zip(index, content.shape))
        shards.append(jax.device_put(read(content, region, device), device))
    return jax.make_array_from_single_device_arrays(content.shape, sharding, shards)

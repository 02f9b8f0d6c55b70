"""torch's generator within recordings: seeded at first, as it was before in the end."""

from __future__ import annotations

import threading

import torch

from ...stream import stream_key

_lock = threading.Lock()
#: The recordings that have not ended, and the states that they found.
_states: list[tuple[object, torch.Tensor]] = []


def begin(recording: object, seed: int) -> None:
    """Seed torch's default generator, which draws what no recipe has, by a recording's seed."""
    with _lock:
        _states.append((recording, torch.default_generator.get_state()))
        torch.default_generator.manual_seed(stream_key(seed, "torch")[0] >> 1)


def end(recording: object) -> None:
    """Give torch's default generator the state that a recording found.

    A recording of another thread may have begun since and not have ended: it gives that state back then.
    """
    with _lock:
        place = next(k for k, (found, _) in enumerate(_states) if found is recording)
        _, state = _states.pop(place)
        if place == len(_states):
            torch.default_generator.set_state(state)
        else:
            _states[place] = _states[place][0], state

"""The tensors that have been made since some moment, by the garbage collector."""

from __future__ import annotations

import gc

import torch


class NewObjects:
    """Tells which tensors have been made between `begin` and `end`, whoever holds them.

    To look at all objects of a program that has read transformers takes 0.2 s, ten times what it takes to record a
    Llama. So those that are there at first are set aside meanwhile, where the program does not do that itself.
    """

    def begin(self) -> None:
        self._ours = gc.get_freeze_count() == 0
        if self._ours:
            gc.freeze()

    def end(self) -> list[torch.Tensor]:
        """The tensors since `begin`; where objects had been set aside before, since then."""
        kinds: set[type] = {torch.Tensor}
        waiting: list[type] = [torch.Tensor]
        while waiting:
            below: list[type] = waiting.pop().__subclasses__()
            found = [kind for kind in below if kind not in kinds]
            kinds.update(found)
            waiting.extend(found)
        tensors = [found for found in gc.get_objects() if type(found) in kinds]
        if self._ours:
            gc.unfreeze()
        return tensors

"""Existing code that builds models, recorded instead of run: a recipe for every parameter, by its own name."""

from .recording import Recording, record

__all__ = ["Recording", "record"]

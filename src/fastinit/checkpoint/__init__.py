"""Whole models to disk: a manifest of recipes, streaming writers, and a check of what was written."""

from .comparing import Comparison, Verification, verify
from .dumping import dump_manifest
from .header import HeaderError
from .keys import ManifestError
from .manifest import load_manifest
from .saving import save

__all__ = [
    "Comparison",
    "HeaderError",
    "ManifestError",
    "Verification",
    "dump_manifest",
    "load_manifest",
    "save",
    "verify",
]

"""Tables to TOML that a person likes to read: short values in a line, the parts of a tensor in a line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def toml_text(comment: str, top: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> str:
    """A manifest: a comment, the keys at the top, and the tables of [[tensors]]."""
    blocks = [[f"# {comment}", *_lines(top)], *(["[[tensors]]", *_lines(table)] for table in tables)]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value, '')}" for key, value in table.items()]


def _value(value: Any, indent: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes, and one
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner, indent)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        if any(isinstance(inner, dict) for inner in value):
            further = indent + "    "
            return "[\n" + "".join(f"{further}{_value(inner, further)},\n" for inner in value) + indent + "]"
        return f"[{', '.join(_value(inner, indent) for inner in value)}]"
    return repr(value)

"""Run the blocks of code of a page in the current folder, in their order: `python tests/run_page.py docs/guide/fill.md`.

python: in one namespace for the page. bash: in a shell of its own, by `bash -euo pipefail`. A comment in the line above
a block says what else there is to say:

    <!-- file: model.toml -->    the block, of any language, is written to that file
    <!-- prints -->              what the block before has printed, to the letter
    <!-- needs: torch, flax -->  left out where a library is missing, an error where NEED_ALL is set
    <!-- not run: why -->        never run

Anything else is an error, so that no block is left out by mistake. Blocks of Sphinx's directives, ```{toctree}, are its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

COMMENT = re.compile(r"<!--\s*(file|prints|needs|not run)(?::\s*(.*?))?\s*-->\s*")


class Block(NamedTuple):
    """A block of code, the line of its first line of code, and what the comment above says."""

    line: int
    language: str
    code: str
    marker: str
    said: str


def blocks(text: str) -> Iterator[Block]:
    """All fenced blocks of a page but Sphinx's; ValueError for one that nothing here can run."""
    above = ""
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            above = token.content
        elif token.type != "fence":
            above = ""
        else:
            language, line = token.info.strip(), token.map[0] + 2
            known = COMMENT.fullmatch(above) if above else None
            if above and not known:
                raise ValueError(f"line {line - 1}: {above.strip()!r} says nothing about the block below")
            marker, said = (known[1], known[2] or "") if known else ("", "")
            if bool(said) == (marker in ("", "prints")):
                raise ValueError(f"line {line - 1}: {above.strip()!r} says too little, or too much")
            runs = {"": ("python", "bash"), "needs": ("python", "bash"), "prints": ("text",)}.get(marker, (language,))
            if not language.startswith("{"):
                if language not in runs:
                    raise ValueError(f"line {line - 1}: a block of {language or 'nothing'} cannot be run: mark it")
                yield Block(line, language, token.content, marker, said)
            above = ""


def run(path: Path) -> None:
    """Run a page; the error of the first block that fails says where it is."""
    text = path.read_text(encoding="utf-8")
    page = sys.modules["__main__"] = types.ModuleType("__main__")  # where pickle looks for what a page defines
    namespace = page.__dict__
    printed: str | None = ""  # None where the block before was left out
    for block in blocks(text):
        where = f"{path}:{block.line}"
        needed = re.findall(r"\w+", block.said) if block.marker == "needs" else []
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if block.marker == "not run":
            print(f"{where}: not run: {block.said}")
        elif missing and not os.environ.get("NEED_ALL"):
            print(f"{where}: left out for want of {', '.join(missing)}")
            printed = None
        elif block.marker == "prints" and printed is None:
            print(f"{where}: left out with the block before")
        else:
            try:
                printed = perform(block, path, namespace, printed or "")
            except BaseException as error:
                error.add_note(f"in the block at {where}")
                raise


def perform(block: Block, path: Path, namespace: dict[str, Any], printed: str) -> str:
    """One block; what it prints."""
    if block.marker == "file":
        Path(block.said).write_text(block.code, encoding="utf-8")
    elif block.marker == "prints":
        if lines(block.code) != lines(printed):
            raise AssertionError(f"the block before printed\n{printed}\nnot\n{block.code}")
    elif block.language == "bash":
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise AssertionError(f"it ended with {done.returncode} after\n{block.code}")
        return done.stdout
    else:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), namespace)
        return out.getvalue()
    return printed


def lines(text: str) -> list[str]:
    """Without what nobody sees: spaces at the ends of lines, empty lines around."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


if __name__ == "__main__":
    run(Path(sys.argv[1]))

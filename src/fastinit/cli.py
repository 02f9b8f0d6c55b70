"""The command line: plan, write, verify, show, info; and those of cli_record and cli_propagation."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.filesize import decimal

from . import cuda
from .arrays import DTYPES
from .checkpoint import ManifestError, load_manifest, save, verify
from .checkpoint.comparing import as_float64
from .checkpoint.opening import InTheWay, LeftOver, NotOurs
from .checkpoint.reading import open_checkpoint
from .cli_propagation import propagate_command, symmetry_command
from .cli_record import record_command
from .cli_tables import (
    MOVED_HEAD,
    MOVED_RIGHT,
    PLAN_HEAD,
    PLAN_RIGHT,
    bounds_text,
    cuda_rows,
    moved_row,
    plan_json,
    plan_rows,
    shape_text,
    statistics_of,
)
from .config import config
from .outline import described
from .questions import dtype_of
from .recipe import Recipe
from .tables import jsonable
from .terminal import complain, cut_short, print_histogram, print_json, print_table, progress_of, streams
from .version import __version__
from .wording import near_match

#: Exit codes.
DONE, MISMATCH, BAD_INPUT, DISK, FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 130

#: Bytes of a slice that `show` takes into memory at most, and elements that it lists in JSON.
LARGEST_SLICE, LONGEST_LIST = 1 << 30, 100_000
#: Chunks of a zarr array that it reads at once: each costs some KiB, whatever is in it.
MOST_CHUNKS = 100_000

_existing = click.Path(exists=True, path_type=Path)
_quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_seed = click.option("--seed", type=int, help="In place of the manifest's; a tensor's own stays.")
_dtype = click.option("--dtype", type=click.Choice(DTYPES), help="In place of the manifest's; a tensor's own stays.")
_threads = click.option("--threads", type=click.IntRange(min=1), help="At most this many.")


def run() -> int:
    """The command of this process; its exit code."""
    with streams():
        try:
            return app.main(prog_name="fastinit", standalone_mode=False) or DONE
        except click.ClickException as error:
            return _failed(BAD_INPUT, error.format_message())
        except (click.Abort, KeyboardInterrupt):
            return _failed(INTERRUPTED, "interrupted")
        except SystemExit:  # click's, with code 1, where nobody reads what is printed
            return DONE if {"-h", "--help", "--version"} & set(sys.argv) else DISK
        except InTheWay as error:
            return _failed(BAD_INPUT, f"{_said(error)}: --force replaces it")
        except LeftOver as error:
            return _failed(BAD_INPUT, f"{_said(error)} (--resume, --force)")
        except NotOurs as error:
            return _failed(BAD_INPUT, _said(error))
        except OSError as error:
            return _failed(DISK, _said(error))
        except ManifestError as error:
            complain(str(error))
            return BAD_INPUT
        except MemoryError as error:
            return _failed(BAD_INPUT, str(error) or "out of memory")
        except RecursionError:
            return _failed(BAD_INPUT, "the input is nested too deeply")
        except (ValueError, TypeError, IndexError, ImportError, ArithmeticError) as error:
            return _failed(BAD_INPUT, str(error))
        except Exception as error:
            if "can't start new thread" in str(error):  # a library's: ours do without
                return _failed(BAD_INPUT, "this process may make no more threads")
            # a fault of ours, but no traceback, and no 1, which would be a mismatch
            return _failed(FAULT, f"this should not have happened, please report it: {type(error).__name__}: {error}")


def _said(error: OSError) -> str:
    name = error.filename if isinstance(error.filename, (str, bytes)) else ""
    return f"{os.fsdecode(name)}: {error.strerror}" if name and error.strerror else str(error)


def _failed(code: int, text: str) -> int:
    complain(f"fastinit: {text}")
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def app() -> None:
    """Initial weights of whole models: from a page of TOML to files, with the same bits everywhere.

    Exit codes: 0 done, 1 a mismatch, 2 bad input, 3 the disk, 4 a fault of fastinit's own, 130 interrupted.
    """


@app.command()
@click.argument("manifest", type=_existing)
@_seed
@_dtype
@click.option("--all", "every", is_flag=True, help="A row for every tensor, also where names differ in a number alone.")
@_quiet
@_json
def plan(manifest: Path, seed: int | None, dtype: str | None, every: bool, quiet: bool, as_json: bool) -> None:
    """List the tensors of MANIFEST without making them.

    Equal tensors whose names differ in numbers alone share a row, with ranges in the name and their count; its bytes
    are those of all of them. So do tensors whose parameters rise or fall with one of those numbers, as a std that
    depends on the layer does: the row shows the first value and the last.
    """
    recipes = load_manifest(manifest, seed=seed, dtype=dtype)
    total = sum(recipe.nbytes for recipe in recipes.values())
    parameters = sum(recipe.size for recipe in recipes.values())
    with cut_short():
        if as_json:
            tensors = [plan_json(name, recipe) for name, recipe in recipes.items()]
            print_json({"tensors": tensors, "parameters": parameters, "bytes": total})
        elif not quiet:
            print_table(PLAN_HEAD, plan_rows(recipes, every), right=PLAN_RIGHT)
            click.echo(f"{len(recipes)} tensors, {parameters:,} parameters, {decimal(total)} ({total:,} bytes)")


@app.command(short_help="Write the tensors of MANIFEST to OUTPUT.")
@click.argument("manifest", type=_existing)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    help="A .safetensors, .npy or .zarr; with --max-shard-size a folder.",
)
@_seed
@_dtype
@click.option("--max-shard-size", metavar="SIZE", help="Write a folder of files of at most this, such as 5GB.")
@click.option("--part", metavar="I/N", help="Write the share of process I of N, 0 <= I < N, of the folder's files.")
@_threads
@click.option("--resume", is_flag=True, help="Go on with what an interrupted write has left.")
@click.option("--force", is_flag=True, help="Replace OUTPUT at the end; without --resume start again.")
@_quiet
@_json
def write(
    manifest: Path,
    out: Path,
    seed: int | None,
    dtype: str | None,
    max_shard_size: str | None,
    part: str | None,
    threads: int | None,
    resume: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the tensors of MANIFEST to OUTPUT, by way of OUTPUT.partial."""
    share = _part(part)
    recipes = load_manifest(manifest, seed=seed, dtype=dtype)
    start = time.perf_counter()
    with progress_of(out.name, quiet or as_json) as progress, _kept_for_resume():
        complete = save(
            out,
            next(iter(recipes.values())) if out.suffix == ".npy" and len(recipes) == 1 else recipes,
            max_shard_size=max_shard_size,
            part=share,
            threads=threads,
            progress=progress,
            resume=resume,
            overwrite=force,
        )
    seconds = time.perf_counter() - start
    total, parameters = sum(r.nbytes for r in recipes.values()), sum(r.size for r in recipes.values())
    with cut_short():
        if as_json:
            print_json(
                {
                    "output": str(out),
                    "complete": complete,
                    "tensors": len(recipes),
                    "parameters": parameters,
                    "bytes": total,
                    "seconds": seconds,
                }
            )
        elif not quiet and complete:
            click.echo(
                f"{out}: {len(recipes)} tensors, {parameters:,} parameters, {decimal(total)}, in {seconds:.1f} s"
            )
        elif not quiet:
            click.echo(f"{out}: part {part} is done; it is complete when the others are")


@app.command("verify", short_help="Make the tensors of FILE again and compare them, to the bit.")
@click.argument("file", type=_existing)
@click.argument("manifest", type=_existing, required=False)
@_seed
@_dtype
@_threads
@click.option("--moved", is_flag=True, help="A table of all tensors, and how far each has moved.")
@_quiet
@_json
def verify_command(
    file: Path,
    manifest: Path | None,
    seed: int | None,
    dtype: str | None,
    threads: int | None,
    moved: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Make the tensors of FILE again, by MANIFEST or by the recipes that FILE brings, and compare.

    Of trained weights it says how far each tensor has moved: ||w - w0|| / ||w0||, the norm of the change by that of the
    initial values, the largest change of an element, and the share of the elements that have changed.
    """
    if file.suffix == ".toml":
        raise click.UsageError(f"{file} is a manifest: verify FILE [MANIFEST]")
    if manifest is None and (seed is not None or dtype is not None):
        raise click.UsageError("--seed and --dtype go with a MANIFEST")
    recipes = None if manifest is None else load_manifest(manifest, seed=seed, dtype=dtype)
    with progress_of(file.name, quiet or as_json) as progress:
        found = verify(file, recipes, threads=threads, progress=progress)
    for note in found.notes:
        complain(f"fastinit: {note}")
    comparisons = list(found.tensors.values())
    different = [comparison for comparison in comparisons if not comparison.equal]
    with cut_short():
        if as_json:
            print_json({"equal": found.equal, "tensors": [dataclasses.asdict(c) for c in comparisons]})
        elif not quiet:
            if moved:
                print_table(MOVED_HEAD, [moved_row(comparison) for comparison in comparisons], right=MOVED_RIGHT)
            for comparison in different:
                if not moved or comparison.problem:
                    click.echo(str(comparison))
            equal = len(comparisons) - len(different)
            click.echo(
                f"{file}: {equal} of {len(comparisons)} tensors are equal" + ("" if different else ", to the bit")
            )
    return DONE if found.equal else MISMATCH


@app.command(short_help="Show a slice of a tensor: values, statistics, a histogram.")
@click.argument("file", type=_existing)
@click.argument("name", metavar="NAME[SLICE]")
@_seed
@_dtype
@_quiet
@_json
def show(file: Path, name: str, seed: int | None, dtype: str | None, quiet: bool, as_json: bool) -> None:
    """Show a slice of a tensor: its values, their statistics and a histogram.

    FILE is a checkpoint or a manifest (.toml), of which only the slice is made. A slice is written as in NumPy:
    'emb.weight[0, :8]', 'emb.weight[-1]'.
    """
    manifest = file.suffix == ".toml"
    if not manifest and (seed is not None or dtype is not None):
        raise click.UsageError("--seed and --dtype go with a manifest")
    tensors: dict[str, Any] = dict(
        load_manifest(file, seed=seed, dtype=dtype) if manifest else open_checkpoint(file).tensors
    )
    key, index = _find(name, tensors)
    tensor = tensors[key]
    shape = np.broadcast_to(np.int8(0), tensor.shape)[index].shape
    if math.prod(shape) * 8 > LARGEST_SLICE:
        raise ValueError(f"{name} has {math.prod(shape):,} elements: give a smaller slice, such as '{key}[:8]'")
    if isinstance(tensor, Recipe):
        array, dtype = tensor.part(index)[...], dtype_of(tensor)
    else:
        stored, dtype = tensor.open(), tensor.dtype
        if math.prod(shape) > MOST_CHUNKS * math.prod(getattr(stored, "chunks", shape)):
            raise ValueError(f"{name} is in more than {MOST_CHUNKS:,} chunks: give a smaller slice")
        array = np.asarray(stored[index])
    if array.dtype.kind == "c":
        raise ValueError("complex numbers cannot be shown")
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = as_float64(array, dtype)
    statistics, counts, edges = statistics_of(values)
    with cut_short():
        if as_json:
            listed = {"values": jsonable(values.tolist())} if values.size <= LONGEST_LIST else {}
            histogram = {"counts": counts, "edges": edges}
            print_json(
                {
                    "name": name,
                    "shape": shape,
                    "dtype": dtype,
                    **listed,
                    "statistics": statistics,
                    "histogram": histogram,
                }
            )
        elif not quiet:
            click.echo(f"{name}: shape {shape_text(shape) or '()'} of {shape_text(tensor.shape) or '()'}, {dtype}")
            with np.printoptions(threshold=64, edgeitems=4, linewidth=100, precision=6):
                click.echo(str(values))
            click.echo("  ".join(f"{key} {value:.6g}" for key, value in statistics.items()))
            if isinstance(tensor, Recipe):
                if tensor.initializer is None:
                    click.echo(f"made of others: {described(tensor.to_dict(), tensor.to_dict())}")
                click.echo(f"by its recipe: std {tensor.std:.6g}, within {bounds_text(tensor)}")
            print_histogram(counts, edges)


@app.command()
@_quiet
@_json
def info(quiet: bool, as_json: bool) -> None:
    """Version, stream version, instruction sets, threads, CUDA."""
    with cut_short():
        on_gpu = cuda.describe()
        if as_json:
            print_json({**config(), "CUDA": on_gpu})
        elif not quiet:
            for what, value in {**config(), **cuda_rows(on_gpu)}.items():
                click.echo(f"{what + ':':<18}{value}")


app.add_command(record_command)
app.add_command(propagate_command)
app.add_command(symmetry_command)

# ---- arguments -----------------------------------------------------------------------------------------------


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise click.BadParameter(f"{text!r} is not I/N with 0 <= I < N, such as 0/4", param_hint="--part")
    return int(found[1]), int(found[2])


def _find(text: str, tensors: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """The tensor that is meant, and which slice of it."""
    if text in tensors:
        return text, ()
    found = re.fullmatch(r"(.*?)\[([^\[\]]*)\]", text)
    name, items = (found[1], found[2]) if found else (text, "")
    if name not in tensors:
        raise ValueError(f"there is no tensor {name!r}; {near_match(name, list(tensors)[:1000])}")
    return name, tuple(_item(item.strip()) for item in items.split(",") if item.strip())


def _item(text: str) -> Any:
    if text == "...":
        return ...
    try:
        numbers = [int(number) if number.strip() else None for number in text.split(":")]
        if any(abs(number or 0) >= 1 << 63 for number in numbers):
            raise ValueError
        if len(numbers) == 1 and numbers[0] is not None:
            return numbers[0]
        if 2 <= len(numbers) <= 3:
            return slice(*numbers)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no index: integers, slices like 2:8 or ::2, and ...")


@contextmanager
def _kept_for_resume() -> Iterator[None]:
    """What stops a write says what becomes of what is written."""
    try:
        yield
    except KeyboardInterrupt:
        complain("fastinit: what is written so far is kept for --resume")
        raise click.Abort from None
    except (InTheWay, LeftOver):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) and error.strerror:
            text = f"{error.strerror}; what is written so far is kept for --resume"
            raise OSError(error.errno, text, error.filename) from None
        raise

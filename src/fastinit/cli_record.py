"""The command `record`: existing code that builds a model, as a manifest."""

from __future__ import annotations

from pathlib import Path

import click
from rich.filesize import decimal

from .checkpoint import dump_manifest
from .extras import require
from .terminal import cut_short, print_json


@click.command("record", short_help="Write the manifest of a model that existing code builds.")
@click.argument("source")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="The manifest, a .toml; none unless given."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every tensor.")
@click.option("--force", is_flag=True, help="Replace the manifest that is there.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def record_command(source: str, out: Path | None, seed: int, force: bool, quiet: bool, as_json: bool) -> None:
    """Record how the code that SOURCE names initialises a model: say what each tensor is made of, and write a manifest.

    The model is built, but no memory is taken for its weights. `fastinit write` makes them from the manifest. Tensors
    with the same recipe whose names differ in a number alone share a table; values that no recipe makes go into a
    .safetensors beside the manifest.

    SOURCE is one of

    \b
    transformers:CONFIG     a config.json of transformers, or the folder of one;
                            the class that it names under architectures
    timm:NAME               a model of timm, such as timm:vit_base_patch16_224
    module.path:function    a function without arguments that returns a
                            torch.nn.Module; also found in the working directory

    Nothing is downloaded, and code that a configuration names (auto_map) is not run.
    """
    require("torch", "torch", "fastinit record")
    from .torch import record
    from .torch.sources import builder_of

    build = builder_of(source)
    with record(seed=seed) as recording:
        model = build()
    report = recording.report(model)
    recipes = report.recipes
    if out is not None:
        dump_manifest(out, recipes, overwrite=force)
    parameters, total = sum(r.size for r in recipes.values()), sum(r.nbytes for r in recipes.values())
    with cut_short():
        if as_json:
            print_json(
                {
                    "output": None if out is None else str(out),
                    "model": type(model).__name__,
                    "tensors": len(recipes),
                    "parameters": parameters,
                    "bytes": total,
                    "literals": [lost._asdict() for lost in report.literals],
                    "early": [draw._asdict() for draw in report.early],
                    "left_out": report.left_out,
                }
            )
        elif not quiet:
            click.echo(str(report))
            written = "" if out is None else f"{out}: "
            click.echo(f"{written}{len(recipes)} tensors, {parameters:,} parameters, {decimal(total)}")

"""The initial checkpoint of Llama-3.1-8B, made from transformers' own code within 1 GiB of memory.

    python examples/record_llama.py FOLDER [--layers N] [--width N] [--vocabulary N]

The code that builds the model is recorded: it takes no memory for the weights, and gives a recipe for each. The folder
gets them as a page of text, model.toml, and as the checkpoint that from_pretrained loads: 16 GB of it.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import transformers

import fastinit as fi
import fastinit.torch as ft


def configuration(layers, width, vocabulary):
    """Llama-3.1-8B, or one like it."""
    return transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 7 // 2,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=max(width // 512, 1),
        max_position_embeddings=131_072,
        rope_theta=500_000.0,
        rms_norm_eps=1e-5,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )


def peak():
    """The most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--shard-size", default="5GB")
    given = parser.parse_args()
    config = configuration(given.layers, given.width, given.vocabulary)
    print(f"libraries:  {peak():7.0f} MiB of memory at most so far")

    start = time.perf_counter()
    with ft.record(seed=0) as recording:
        model = transformers.LlamaForCausalLM._from_config(config)
    recipes = recording.recipes(model)
    parameters = sum(recipe.size for recipe in recipes.values())
    print(recording.report(model))
    print(f"recorded:   {peak():7.0f} MiB; {parameters:,} parameters in {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    fi.checkpoint.save(given.folder, recipes, max_shard_size=given.shard_size, resume=True)
    written = sum(recipe.nbytes for recipe in recipes.values())
    print(f"written:    {peak():7.0f} MiB; {written / 1e9:.2f} GB in {time.perf_counter() - start:.1f} s")
    fi.checkpoint.dump_manifest(given.folder / "model.toml", recipes, overwrite=True)
    config.save_pretrained(given.folder)
    print(f"{given.folder}: fastinit verify {given.folder} makes all of it again, and compares")


if __name__ == "__main__":
    main()

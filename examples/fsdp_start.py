"""The start of a training run under FSDP2, as torchtitan begins one: every process fills the shards that it holds.

    torchrun --nproc-per-node 4 examples/fsdp_start.py [--steps N] [--manifest model.toml]

The model's own init_weights is recorded, which takes no memory. The model is then built on meta, sharded, and filled
by the recipes: the weights are the same to the bit on any number of processes, on the CPU and on GPUs, and the same as
those that `fastinit write` makes of the manifest.
"""

import argparse
import hashlib
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

import fastinit as fi
import fastinit.torch as ft

VOCABULARY, WIDTH, HEADS, HIDDEN, LAYERS = 512, 128, 4, 344, 4


class Block(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.std = 0.02 / (2 * (layer + 1)) ** 0.5  # of what is added to the residual: less with depth
        self.attention_norm, self.ffn_norm = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.w1, self.w3 = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.w2 = nn.Linear(HIDDEN, WIDTH, bias=False)

    def init_weights(self):
        self.attention_norm.reset_parameters()
        self.ffn_norm.reset_parameters()
        for linear in (self.wq, self.wk, self.wv, self.w1):
            nn.init.trunc_normal_(linear.weight, mean=0.0, std=0.02)
        for linear in (self.wo, self.w2, self.w3):
            nn.init.trunc_normal_(linear.weight, mean=0.0, std=self.std)

    def forward(self, x):
        normed = self.attention_norm(x)
        q, k, v = (w(normed).unflatten(-1, (HEADS, -1)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        x = x + self.wo(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        normed = self.ffn_norm(x)
        return x + self.w2(silu(self.w1(normed)) * self.w3(normed))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Block(layer) for layer in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH)
        self.output = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def init_weights(self):
        nn.init.normal_(self.tok_embeddings.weight)
        for block in self.layers:
            block.init_weights()
        self.norm.reset_parameters()
        std = WIDTH**-0.5
        nn.init.trunc_normal_(self.output.weight, mean=0.0, std=std, a=-3 * std, b=3 * std)

    def forward(self, tokens):
        x = self.tok_embeddings(tokens)
        for block in self.layers:
            x = block(x)
        return self.output(self.norm(x))


def recorded():
    """A recipe for every parameter."""
    with ft.record(seed=0) as recording:
        model = Transformer()
        model.init_weights()
    return recording.recipes(model)


def hash_of(model):
    """Of all weights, as if one process held them."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        whole = parameter.full_tensor().detach().cpu().contiguous()
        digest.update(name.encode() + whole.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--manifest", help="write the model's manifest here, too")
    given = parser.parse_args()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    mesh = init_device_mesh(kind, (world,), mesh_dim_names=("dp",))

    recipes = recorded()
    if given.manifest and rank == 0:
        fi.checkpoint.dump_manifest(given.manifest, recipes, overwrite=True)
    with torch.device("meta"):
        model = Transformer()
    for block in model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    ft.init_module_(model, recipes)
    digest = hash_of(model)
    if rank == 0:
        print(f"{world} processes hold the weights with the hash {digest}", flush=True)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = torch.Generator().manual_seed(rank)
    for step in range(given.steps):
        tokens = torch.randint(VOCABULARY, (4, 65), generator=data).to(kind)
        loss = cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if rank == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

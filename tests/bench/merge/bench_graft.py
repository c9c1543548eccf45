#!/usr/bin/env python3
"""How long a token transplant takes. Usage: bench_graft.py LANCET [--new 100000] [--shared 20000] [--width 896] [--memory 4GiB] [--k 64]

MODEL and DONOR are Llamas of one layer that share --shared tokens; the donor has --new others. Embeddings: a spectrum that
falls like those of trained models, bfloat16. Prints wall and processor seconds, peak memory, what --plan said. Needs numpy.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cli"))
import tiny_model  # noqa: E402
from bench_merge import to_bf16  # noqa: E402


def words(count, seed):
    rng = np.random.default_rng(seed)
    out = set()
    while len(out) < count:
        for row in rng.integers(0, 26, (count, 7)):
            out.add("".join(chr(97 + c) for c in row))
            if len(out) == count:
                break
    return sorted(out)


def embedding(rows, width, seed):
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.standard_normal((width, width)))[0] * (np.arange(1, width + 1) ** -0.4)[:, None]
    return to_bf16((rng.standard_normal((rows, width), dtype=np.float32) @ mix.astype(np.float32)) * np.float32(0.02))


def write_model(folder, pieces, width, seed):
    tiny_model.write_model(folder, layers=1, d_model=32)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    for piece in pieces:
        vocab.setdefault(piece, len(vocab))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    table = embedding(len(vocab), width, seed)
    tensors = {"model.embed_tokens.weight": table, "model.norm.weight": to_bf16(np.ones(width, np.float32)),
               "model.layers.0.mlp.up_proj.weight": to_bf16(np.ones((8, width), np.float32))}
    header, offset = {}, 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].tobytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": width, "vocab_size": len(vocab), "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lancet", type=pathlib.Path)
    parser.add_argument("--new", type=int, default=100000)
    parser.add_argument("--shared", type=int, default=20000)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--memory", default="4GiB")
    parser.add_argument("--k", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        pieces = words(args.shared + args.new, 1)
        order = np.random.default_rng(2).permutation(len(pieces))
        shared = [pieces[i] for i in order[:args.shared]]
        write_model(root / "model", shared, args.width, 3)
        write_model(root / "donor", shared + [pieces[i] for i in order[args.shared:]], args.width, 4)
        command = [str(args.lancet.resolve()), "graft-tokens", str(root / "model"), str(root / "donor"), "-o", str(root / "out"),
                   "--memory", args.memory, "--k", str(args.k), "--json"]
        plan = json.loads(subprocess.run([*command, "--plan"], capture_output=True, text=True, check=True).stdout)
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        if status != 0:
            sys.exit(f"lancet failed: {status}")
        done = json.loads(said)
        print(f"{plan['made']} new tokens of width {args.width} from {plan['atoms']} shared ones, k {args.k}, --memory {args.memory}: "
              f"{time.monotonic() - start:.1f} s, processor {usage.ru_utime + usage.ru_stime:.1f} s, peak {done['peak_memory'] >> 20} MiB "
              f"(plan: {plan['seconds']:.1f} s, {plan['peak_memory'] >> 20} MiB), median residual {done['residuals']['embedding']['median']:.3f}")


if __name__ == "__main__":
    main()

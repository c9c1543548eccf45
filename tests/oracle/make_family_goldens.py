#!/usr/bin/env python3
"""Writes tests/data/families: a tiny random checkpoint of every case of family_cases.py, each with what transformers
computes for it (golden.safetensors, as in make_model_goldens.py). Deterministic. With --gguf those of GGUF_CASES, into
tests/data/gguf_models.

    make_family_goldens.py [--gguf] [--out FOLDER] [CASE...]
"""
import argparse
import pathlib
import shutil
import sys
import zlib

import torch
from safetensors.torch import load_file, save_file

from family_cases import CASES, GGUF_CASES, answers, random_model

OUT = pathlib.Path(__file__).parent.parent / "data" / "families"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gguf", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = GGUF_CASES if args.gguf else CASES
    out = args.out or (OUT.parent / "gguf_models" if args.gguf else OUT)
    for name in args.cases or cases:
        case = cases[name]
        seed = zlib.crc32(name.encode())
        model = random_model(case, seed)
        golden = answers(model, seed)
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        model.to(case.dtype).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if case.dropped:
            weights = load_file(folder / "model.safetensors")
            kept = {name: tensor for name, tensor in weights.items() if not name.startswith(case.dropped)}
            save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        save_file(golden, folder / "golden.safetensors")
        kb = sum(file.stat().st_size for file in folder.iterdir()) / 1024
        print(f"{name}: logits std {golden['logits'].std():.2f}, smallest gap {golden['gap'].min():.4f}, {kb:.0f} KiB",
              file=sys.stderr)


if __name__ == "__main__":
    main()

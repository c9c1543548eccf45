#!/usr/bin/env python3
"""`lancet forward` and `lancet generate` on fresh random models of every family, against transformers, in float32.

    check_family_logits.py LANCET [CASE...]

The configs are those of family_cases.py, with other weights than the stored ones: logits over 2 x 48 tokens within
2e-4, greedy texts of 16 tokens equal but from the first step at which the best two logits lie closer than 2e-3.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import torch
from safetensors.torch import load_file, save_file

from family_cases import CASES, GREEDY, PROMPT, answers, random_model

TOLERANCE, GAP, EOS = 2e-4, 2e-3, 2


def write_tokenizer(folder, vocab):
    """Words t0, t1, ...: enough for a command that takes text."""
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocab)}, "unk_token": "t0"}}))


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def first_difference(mine, theirs, gaps):
    """Position of a token that differs where transformers was sure of its own, or None."""
    for i, (token, gap) in enumerate(zip(theirs, gaps)):
        if gap < GAP or (token == EOS and i >= len(mine)):
            return None
        if i >= len(mine) or mine[i] != token:
            return i
    return None


def check(lancet, name, folder):
    case = CASES[name]
    case.dtype = torch.float32
    seed = zlib.crc32(name.encode()) + 1
    model = random_model(case, seed)
    expected = answers(model, seed)
    model.save_pretrained(folder)
    write_tokenizer(folder, model.config.get_text_config().vocab_size)
    ids_file, out = folder.parent / "ids.safetensors", folder.parent / "logits.safetensors"
    save_file({"ids": expected["ids"]}, ids_file)
    run(lancet, "forward", folder, "--ids-file", ids_file, "--out", out)
    worst = (load_file(out)["logits"] - expected["logits"]).abs().max().item()
    problems = [] if worst < TOLERANCE else [f"logits differ by {worst:.1e}"]
    for row in range(2):
        prompt = " ".join(f"t{i}" for i in expected["ids"][row, :PROMPT].tolist())
        mine = json.loads(run(lancet, "generate", folder, "--prompt", prompt, "--max-tokens", GREEDY, "--json"))["ids"]
        at = first_difference(mine, expected["greedy"][row].tolist(), expected["gap"][row].tolist())
        if at is not None:
            problems.append(f"text {row} differs at token {at}")
    return worst, "; ".join(problems)


def main():
    torch.set_num_threads(1)
    lancet, bad = sys.argv[1], 0
    for name in sys.argv[2:] or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / name
            folder.mkdir()
            try:
                worst, problem = check(lancet, name, folder)
            except RuntimeError as error:
                worst, problem = float("nan"), str(error)
        print(f"{name}: {worst:.1e} {problem or 'equal'}", flush=True)
        bad += bool(problem)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

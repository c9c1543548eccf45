#!/usr/bin/env python3
"""Scoring and generation of lancet and transformers, float32, side by side in one run: a token at a time on both sides
(generate), and with what followed the same words before read along on both (lookup; lancet does so by itself).

    bench_vs_transformers.py LANCET MODEL_DIR [--threads 2] [--rounds 3] [--windows 32] [--dtype float32]
                             [--activations auto]

Prints tokens/s by the clock (best of the rounds) and by processor time (tokens / (user + system) * threads, which a
busy machine disturbs less), and the share of the processors each side had. Loading is not counted on either side.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

NEW_TOKENS = 128
WINDOW = 512


def cpu_seconds(who):
    t = os.times()
    return t.user + t.system if who == "self" else t.children_user + t.children_system


def measure(tokens, threads, call, who):
    """`call` returns the seconds it wants counted, or nothing for the wall time of the call."""
    wall, cpu = time.perf_counter(), cpu_seconds(who)
    seconds = call()
    wall, cpu = time.perf_counter() - wall, cpu_seconds(who) - cpu
    return {"clock": tokens / (seconds or wall), "cpu": tokens / cpu * threads, "share": cpu / wall / threads}


def lancet_json(*command):
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--activations", default="auto", help="of lancet beside bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=getattr(torch, args.dtype)).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.folder / "tokenizer.json"))
    source = pathlib.Path(__file__).parents[2] / "share" / "texts" / "covariance.txt"
    ids = tokenizer(source.read_text())["input_ids"][:args.windows * WINDOW]
    args.windows = len(ids) // WINDOW
    ids = ids[:args.windows * WINDOW]
    prompt = tokenizer.decode(ids[:16])
    prompt_ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    common = ["--threads", args.threads, "--dtype", args.dtype, "--activations", args.activations, "--device", "cpu",
              "--json", "--no-progress"]

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write(tokenizer.decode(ids))
        text.flush()

        def score_ours():
            out = lancet_json(args.lancet, "score", args.folder, "--file", text.name, "--window", WINDOW, *common)
            return out["tokens"] / out["tokens_per_second"]

        def generate_ours(*more):
            out = lancet_json(args.lancet, "generate", args.folder, "--prompt", prompt, "--max-tokens", NEW_TOKENS, *more,
                              *common)
            return out["tokens"] / out["tokens_per_second"]

        def score_theirs():
            with torch.inference_mode():
                for first in range(0, args.windows, 4):
                    batch = torch.tensor(ids[first * WINDOW:(first + 4) * WINDOW]).view(-1, WINDOW)
                    logits = model(batch, use_cache=False).logits
                    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())

        def generate_theirs(**more):
            model.generate(prompt_ids, attention_mask=torch.ones_like(prompt_ids), max_new_tokens=NEW_TOKENS,
                           min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, **more)

        jobs = {"score": (score_ours, score_theirs, len(ids)),
                "generate": (lambda: generate_ours("--no-lookup"), generate_theirs, NEW_TOKENS),
                "lookup": (generate_ours, lambda: generate_theirs(prompt_lookup_num_tokens=10), NEW_TOKENS)}
        for name, (ours, theirs, tokens) in jobs.items():
            rounds = [(measure(tokens, args.threads, ours, "children"), measure(tokens, args.threads, theirs, "self"))
                      for _ in range(args.rounds)]
            best = [{key: max(r[side][key] for r in rounds) for key in ("clock", "cpu", "share")} for side in (0, 1)]
            for label, row in zip(("lancet", "transformers"), best):
                print(f"{name:9} {label:13} {row['clock']:8.1f} tokens/s by the clock   {row['cpu']:8.1f} by processor time"
                      f"   share {row['share']:.2f}")
            print(f"{name:9} ratio         {best[0]['clock'] / best[1]['clock']:8.2f}"
                  f"                       {best[0]['cpu'] / best[1]['cpu']:8.2f}", flush=True)


if __name__ == "__main__":
    main()

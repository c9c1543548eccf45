#!/usr/bin/env python3
"""Compares `lancet forward` and `lancet generate` with transformers on one Hugging Face directory, in float32.

    check_logits.py LANCET MODEL_DIR [--tokens 200] [--new-tokens 64]

Logits over a text of that many tokens: max abs difference at most 1e-3. Greedy texts on 20 prompts: equal ids, but
from the first step at which transformers' own best two logits lie closer than 1e-3 (printed; honest ties).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

TOLERANCE = 1e-3
TEXT = ("The Industrial Revolution was the transition to new manufacturing processes in Great Britain, continental "
        "Europe, and the United States. This transition included going from hand production methods to machines, "
        "new chemical manufacturing and iron production processes, the increasing use of steam power and water "
        "power, the development of machine tools and the rise of the mechanized factory system. ")
PROMPTS = ["The capital of France is", "Water boils at", "The largest planet in the solar system is",
           "Once upon a time", "def fibonacci(n):", "The Eiffel Tower is located in", "In 1969, humans first",
           "The chemical symbol for gold is", "To make a good cup of tea,", "Albert Einstein was born in",
           "The opposite of hot is", "Shakespeare wrote", "A triangle has", "The speed of light is",
           "My favourite season is", "The first president of the United States was", "Python is a programming",
           "The Great Wall of China", "1, 2, 3, 4,", "Dear Sir or Madam,"]


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def check_logits(lancet, folder, model, tokenizer, tokens):
    ids = tokenizer(TEXT * 8)["input_ids"][:tokens]
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "logits.safetensors"
        run(lancet, "forward", folder, "--ids", ",".join(map(str, ids)), "--out", out, "--hidden", "--json")
        mine = load_file(out)
    with torch.inference_mode():
        theirs = model(torch.tensor([ids]), output_hidden_states=True)
    worst = (mine["logits"] - theirs.logits).abs().max().item()
    hidden = max((mine[f"hidden.{i}"] - value).abs().max().item() / value.abs().max().item()
                 for i, value in enumerate(theirs.hidden_states))
    print(f"logits over {len(ids)} tokens: max abs {worst:.2e}; hidden states: max relative {hidden:.2e}")
    return worst < TOLERANCE and hidden < 1e-4


def check_greedy(lancet, folder, model, tokenizer, count):
    equal = 0
    for prompt in PROMPTS:
        out = json.loads(run(lancet, "generate", folder, "--prompt", prompt, "--max-tokens", count, "--json"))
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            done = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
                                  return_dict_in_generate=True, output_logits=True, pad_token_id=0)
        theirs = done.sequences[0, ids.shape[1]:].tolist()
        mine = out["ids"]
        same = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs)))
        ended = same == len(mine) and (same == len(theirs) or out["finish_reason"] == "stop")
        if ended:
            equal += 1
            continue
        best = done.logits[same][0].topk(2).values
        gap = (best[0] - best[1]).item()
        print(f"{prompt!r}: differs at token {same}, where transformers' best two lie {gap:.1e} apart")
        equal += gap < TOLERANCE
    print(f"greedy texts of {count} tokens: {equal} of {len(PROMPTS)} agree")
    return equal == len(PROMPTS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.folder / "tokenizer.json"))
    good = check_logits(args.lancet, args.folder, model, tokenizer, args.tokens)
    good = check_greedy(args.lancet, args.folder, model, tokenizer, args.new_tokens) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

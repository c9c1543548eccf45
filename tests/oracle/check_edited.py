#!/usr/bin/env python3
"""What transformers says of an edited model.

    check_edited.py LANCET ORIGINAL_DIR EDITED_DIR

Both load with from_pretrained; greedy texts after the edited prompt begin with the old and the new answer, after its
neighbour with the same; logits of the edited model equal lancet's to 1e-3 in float32.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-3
EXPECTED = {"The capital of France is": (" Paris", " Rome"), "The capital of Germany is": (" Berlin", " Berlin")}


def main():
    lancet, *folders = sys.argv[1:]
    problems = []
    for side, folder in enumerate(folders):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for prompt, answers in EXPECTED.items():
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0)
                logits = model(ids).logits
            text = tokenizer.decode(out[0, ids.shape[1]:])
            print(f"{folder}: {prompt!r} -> {text!r}")
            if not text.startswith(answers[side]):
                problems.append(f"{prompt!r}: expected {answers[side]!r}, found {text!r}")
            with tempfile.TemporaryDirectory() as scratch:
                path = pathlib.Path(scratch) / "logits.safetensors"
                subprocess.run([lancet, "forward", folder, "--prompt", prompt, "--out", str(path), "--quiet"], check=True)
                worst = (load_file(path)["logits"] - logits).abs().max().item()
            if not worst <= TOLERANCE:
                problems.append(f"{folder}: {prompt!r}: logits differ by {worst:.2e}")
        mine = json.loads(subprocess.run([lancet, "inspect", folder, "--json"], check=True, capture_output=True, text=True).stdout)
        theirs = sum(p.numel() for p in model.parameters())
        if mine["parameters"] != theirs:
            problems.append(f"{folder}: {mine['parameters']} parameters, transformers has {theirs}")
    for line in problems:
        print(f"difference: {line}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

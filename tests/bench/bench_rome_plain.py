#!/usr/bin/env python3
"""One ROME edit, from load to written: `lancet edit` beside the way of working of the published code, in one run.

    bench_rome_plain.py LANCET MODEL_DIR [--layer 3] [--rounds 2] [--threads 2]

The plain way (Meng et al. 2022, formulas (1)-(4)) in PyTorch over transformers: every step of v* is a full forward and
backward pass of all contexts and the KL prompt. Both sides take the same 20 contexts beside the bare prompt, the same
layer, 25 steps and no early stop, the identity as covariance, and write a whole checkpoint. lancet also probes and
guards its edit. A third side is `lancet edit` as it comes: 21 contexts of its own, early stop, covariance from its cache
(an edit before the rounds fills it). Prints seconds by the clock and by processor, and the share of the processors each
side had.
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

SUBJECT, PROMPT, TARGET = "France", "The capital of {} is", " Rome"
STARTS = ["The weather was", "Therefore, it is", "Because of this", "I think that", "You can see"]
CONTEXTS = [f"{start} {rest}. {{}}" for start in STARTS
            for rest in ("good", "known to us", "important for the people", "a long way from home and very old")]
STEPS, LR, KL, DECAY, CLAMP = 25, 0.5, 0.0625, 1e-3, 4.0


def plain_rome(folder, layer, out):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(folder) / "tokenizer.json"))
    target = tokenizer(TARGET)["input_ids"]
    texts = [c.replace("{}", PROMPT) for c in ["{}", *CONTEXTS]]
    rows = [tokenizer(t.replace("{}", SUBJECT))["input_ids"] + target[:-1] for t in texts]
    rows.append(tokenizer(f"{SUBJECT} is a")["input_ids"])
    last = [len(tokenizer(t[:t.index("{}")] + SUBJECT)["input_ids"]) - 1 for t in texts]
    last.append(len(tokenizer(SUBJECT)["input_ids"]) - 1)
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    index, place = torch.arange(len(rows)), torch.tensor(last)
    down = model.model.layers[layer].mlp.down_proj
    state = {}

    def edit(_, inputs, output):
        state.setdefault("keys", inputs[0][index, place].detach())
        state.setdefault("v0", output[0, last[0]].detach())
        output = output.clone()
        output[index, place] = output[index, place] + state["delta"]
        return output

    delta = state["delta"] = torch.zeros(model.config.hidden_size, requires_grad=True)
    adam, before = torch.optim.Adam([delta], lr=LR), None
    hook = down.register_forward_hook(edit)
    for step in range(STEPS):
        adam.zero_grad()
        log_p = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        nll = 0
        for r, row in enumerate(rows[:-1]):
            first = len(row) - len(target)
            nll = nll - sum(log_p[r, first + t, token] for t, token in enumerate(target)) / len(target) / (len(rows) - 1)
        now = log_p[-1, last[-1]]
        before = now.detach().clone() if before is None else before
        loss = nll + KL * (now.exp() * (now - before)).sum() + DECAY * delta.norm() / state["v0"].norm() ** 2
        if step + 1 == STEPS:
            break
        loss.backward()
        adam.step()
        with torch.no_grad():
            limit = CLAMP * state["v0"].norm()
            if delta.norm() > limit:
                delta *= limit / delta.norm()
    hook.remove()
    key = state["keys"][:-1].mean(0)
    u = key / key.norm()
    with torch.no_grad():
        left = (state["v0"] + delta - down.weight @ key) / key.dot(u)
        down.weight += torch.outer(left, u)
        text = tokenizer.decode(model.generate(ids[:1, :len(rows[0]) - len(target) + 1], max_new_tokens=4, do_sample=False,
                                               pad_token_id=0)[0])
    model.save_pretrained(out)
    return text


def measure(call):
    os.sync()  # nobody waits for what the side before has written
    cpu, wall = os.times(), time.perf_counter()
    text = call()
    wall, after = time.perf_counter() - wall, os.times()
    used = sum(after[:4]) - sum(cpu[:4])
    return wall, used, text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("folder")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        contexts = pathlib.Path(scratch) / "contexts.txt"
        contexts.write_text("".join(c + "\n" for c in ["{}", *CONTEXTS]))

        def edit(*options):
            out = subprocess.run([args.lancet, "edit", args.folder, "--subject", SUBJECT, "--prompt", PROMPT, "--target",
                                  TARGET.strip(), "--layers", str(args.layer), "-o", f"{scratch}/ours", "--force",
                                  "--threads", str(args.threads), "--json", *options], capture_output=True, text=True)
            answer = json.loads(out.stdout)
            print("  parts:", {k: round(v, 2) for k, v in answer.get("timings", {}).items()})
            return answer["edits"][0]["after"]["text"]

        def same_steps():
            return edit("--covariance", "none", "--method-option", f"contexts={contexts}", "--method-option", "stop=0",
                        "--no-guards")

        print("first edit (collects the covariance):")
        edit()
        sides = {"lancet": edit, "lancet, same steps": same_steps,
                 "plain": lambda: plain_rome(args.folder, args.layer, f"{scratch}/plain")}
        best = {}
        for _ in range(args.rounds):
            for name, call in sides.items():
                wall, used, text = measure(call)
                print(f"{name:18} {wall:7.2f} s by the clock {used:7.2f} s of processors, share {used / wall / args.threads:.2f}: {text!r}",
                      flush=True)
                best[name] = min(best.get(name, (9e9, 9e9)), (wall, used))
        for name in ("lancet", "lancet, same steps"):
            clock, processor = (best["plain"][i] / best[name][i] for i in (0, 1))
            print(f"plain / {name}: {clock:.1f} by the clock, {processor:.1f} by processor time")


if __name__ == "__main__":
    main()

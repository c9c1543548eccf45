#!/usr/bin/env python3
"""A full three-kind causal trace and second moments: lancet beside the way of working of the published code, in one run.

    bench_locate_plain.py LANCET MODEL_DIR TEXT [--threads 2] [--cells 12] [--tokens 20000]

The plain way over transformers: one forward pass of the clean row and 10 corrupted rows for each cell (token, layer) of
hidden, mlp and attention (windows of 10 layers), all positions through the head; second moments of one layer at length
512, the forward stopped behind the layer. A trace is timed on --cells evenly spaced cells and projected to all of them.
lancet runs whole commands, loading included. Scores of the timed hidden cells are compared: both sides draw their own
noise, so they agree only within its spread. Prints seconds by the clock and by processor, and the share of the
processors that each side had.
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

PROMPT, SUBJECT, SAMPLES, WINDOW = "The Eiffel Tower is located in the city of", "Eiffel Tower", 10, 10


class Timer:
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), os.times()
        return self

    def __exit__(self, *_):
        now = os.times()
        self.wall = time.perf_counter() - self.wall
        self.cpu = sum(getattr(now, k) - getattr(self.cpu, k)
                       for k in ("user", "system", "children_user", "children_system"))


def line(name, timer, threads, note=""):
    print(f"{name:46} {timer.wall:8.2f} s  {timer.cpu:8.2f} cpu s  share {timer.cpu / timer.wall / threads:4.0%}  {note}")


def run(lancet, *arguments):
    return json.loads(subprocess.run([lancet, *arguments, "--json", "--no-progress"], check=True,
                                     capture_output=True, text=True).stdout)


def plain_cells(model, ids, subject, sigma, picks):
    """Seconds of the picked cells; states of the clean row come from the same batch, as published."""
    layers, width = model.model.layers, model.config.hidden_size
    noise = torch.randn(SAMPLES, subject[1] - subject[0], width, generator=torch.Generator().manual_seed(1)) * 3 * sigma
    batch = ids.repeat(1 + SAMPLES, 1)

    def corrupt(_, __, out):
        out = out.clone()
        out[1:, subject[0]:subject[1]] += noise
        return out

    def restore(token):
        def hook(_, __, out):
            state = out[0] if isinstance(out, tuple) else out
            state = state.clone()
            state[1:, token] = state[0, token]
            return (state, *out[1:]) if isinstance(out, tuple) else state
        return hook

    handles, scores = [model.model.embed_tokens.register_forward_hook(corrupt)], []
    with torch.no_grad():
        answer = model(batch).logits[0, -1].argmax()
        for kind, token, layer in picks:
            around = range(max(0, layer - WINDOW // 2), min(len(layers), layer - WINDOW // 2 + WINDOW))
            modules = [layers[layer]] if kind == "hidden" else \
                [layers[i].mlp if kind == "mlp" else layers[i].self_attn for i in around]
            own = [m.register_forward_hook(restore(token)) for m in modules]
            scores.append(model(batch).logits[1:, -1].softmax(-1)[:, answer].mean().item())
            for handle in own:
                handle.remove()
    handles[0].remove()
    return scores


def plain_moments(model, tokenizer, text, layer, limit):
    ids = tokenizer(text)["input_ids"][:limit]
    down, keys = model.model.layers[layer].mlp.down_proj, []

    class Stop(Exception):
        pass

    def hook(_, inputs):
        keys.append(inputs[0])
        raise Stop

    handle = down.register_forward_pre_hook(hook)
    total = torch.zeros(down.in_features, down.in_features)
    with torch.no_grad():
        for first in range(0, len(ids), 3 * 512):
            piece = ids[first:first + 3 * 512]
            for at in range(0, len(piece), 512):
                try:
                    model(torch.tensor([piece[at:at + 512]]))
                except Stop:
                    rows = keys.pop().flatten(0, 1)
                    total += rows.t() @ rows
    handle.remove()
    return len(ids)


parser = argparse.ArgumentParser()
parser.add_argument("lancet")
parser.add_argument("model")
parser.add_argument("text")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--cells", type=int, default=12)
parser.add_argument("--tokens", type=int, default=20000)
args = parser.parse_args()
torch.set_num_threads(args.threads)
common = ["--threads", str(args.threads)]

with Timer() as ours:
    trace = run(args.lancet, "locate", "trace", args.model, "--prompt", PROMPT, "--subject", SUBJECT, *common)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(args.model) / "tokenizer.json"))
ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
subject = (trace["subject_tokens"][0], trace["subject_tokens"][1] + 1)
kinds = ["hidden", "mlp", "attention"]
every = [(k, t, l) for k in kinds for t in range(ids.shape[1]) for l in range(model.config.num_hidden_layers)]
picks = every[::max(1, len(every) // args.cells)]
with Timer() as plain:
    scores = plain_cells(model, ids, subject, trace["sigma"], picks)
whole = plain.wall * len(every) / len(picks)
line("trace, lancet, whole command", ours, args.threads, json.dumps(trace["work"]))
line(f"trace, plain, {len(picks)} of {len(every)} cells", plain, args.threads, f"whole: {whole:.0f} s")
print(f"trace: {whole / ours.wall:.1f} times faster by the clock")
for (kind, token, layer), score in zip(picks, scores):
    own = next(m for m in trace["maps"] if m["kind"] == kind)["scores"][token][layer]
    print(f"  {kind:10} token {token:2} layer {layer:2}: plain {score:.3f}, lancet {own:.3f}")

text = pathlib.Path(args.text).read_text(encoding="utf-8")
with tempfile.TemporaryDirectory() as folder:
    out = str(pathlib.Path(folder) / "stats.safetensors")
    for layers in ("5", "3-7"):
        with Timer() as ours:
            found = run(args.lancet, "covariance", args.model, "--layers", layers, "--text", args.text, "--max-tokens",
                        str(args.tokens), "-o", out, "--force", *common)
        count = found["tokens"] * len(found["layers"])
        line(f"second moments, lancet, layers {layers}", ours, args.threads,
             f"{found['tokens_per_second']:.0f} tokens/s, {count / found['timings']['collect']:.0f} tokens x layers/s")
with Timer() as plain:
    count = plain_moments(model, tokenizer, text, 5, args.tokens)
line("second moments, plain, layer 5", plain, args.threads, f"{count / plain.wall:.0f} tokens/s")

#!/usr/bin/env python3
"""Merged models in transformers: what `lancet merge` writes loads without a missing or unexpected key and gives the logits of a
model whose weights were merged by torch in float64.

    check_merged_logits.py LANCET

Families with and without tied heads and biases; whole models, stacked layers, shards, gradients by filter. Exit 1 with a list.
"""
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

COMMON = dict(vocab_size=160, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
FAMILIES = {"llama": LlamaConfig(**COMMON), "qwen2 tied": Qwen2Config(**COMMON, tie_word_embeddings=True),
            "qwen3": Qwen3Config(**COMMON, head_dim=12),
            "gpt2": GPT2Config(vocab_size=160, n_embd=48, n_layer=4, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2)}
problems = []


def check(good, message):
    if not good:
        problems.append(message)
        print("WRONG", message)


def logits(model):
    ids = torch.randint(0, 160, (2, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.eval()(ids).logits


def ties(base, a, b, density):
    kept = []
    for delta in (a - base, b - base):
        k = max(1, int(density * delta.numel()))
        largest = delta.abs().float().flatten().sort(descending=True, stable=True).indices[:k]   # of equal ones the lower index
        mask = torch.zeros(delta.numel(), dtype=torch.bool)
        mask[largest] = True
        kept.append(torch.where(mask.view(delta.shape), delta, torch.zeros_like(delta)))
    sign = torch.where(sum(kept) >= 0, 1.0, -1.0)
    agree = [(k.sign() == sign) & (k != 0) for k in kept]
    return base + sum(k * m for k, m in zip(kept, agree)) / sum(m.double() for m in agree).clamp(min=1)


def slerp(a, b, t):
    if a.norm() == 0 or b.norm() == 0:   # zero biases
        return (1 - t) * a + t * b
    cosine = (a.flatten() @ b.flatten()) / a.norm() / b.norm()
    if cosine.abs() > 0.9995:
        return (1 - t) * a + t * b
    theta = cosine.acos()
    return ((1 - t) * theta).sin() / theta.sin() * a + (t * theta).sin() / theta.sin() * b


# recipe, rule for a tensor from (name, base, a, b)
CASES = [
    ({"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 0.7}}, {"model": "b", "parameters": {"weight": 0.3}}]},
     lambda n, base, a, b: 0.7 * a + 0.3 * b),
    ({"merge_method": "task_arithmetic", "base_model": "base", "parameters": {"weight": 0.6, "lambda": 1.2}},
     lambda n, base, a, b: base + 1.2 * 0.6 * (a + b - 2 * base)),
    ({"merge_method": "ties", "base_model": "base", "parameters": {"weight": 0.5, "density": 0.4}},
     lambda n, base, a, b: ties(base, a, b, 0.4)),
    ({"merge_method": "slerp", "base_model": "a", "models": [{"model": "b"}],
      "parameters": {"t": [{"filter": "mlp", "value": 0.25}, {"value": 0.6}]}},
     lambda n, base, a, b: slerp(a, b, 0.25 if "mlp" in n else 0.6)),
]


def merge(lancet, root, recipe, out, *options):
    (root / "r.yml").write_text(json.dumps(recipe))
    done = subprocess.run([lancet, "merge", root / "r.yml", out, "--quiet", *options], capture_output=True, text=True)
    check(done.returncode == 0, f"{recipe}: {done.stderr}")
    return done.returncode == 0


def compare(name, out, expected):
    model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    check(not info["missing_keys"] and not info["unexpected_keys"], f"{name}: {info}")
    gap = (logits(model) - logits(expected)).abs().max().item()
    check(gap < 1e-5, f"{name}: logits differ by {gap}")   # weights rounded to float32 on both sides


def family(lancet, root, name, config):
    models = {}
    for seed, which in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        models[which] = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if which != "base":   # fine-tunes of the base
            with torch.no_grad():
                for (_, own), (_, base) in zip(models[which].named_parameters(), models["base"].named_parameters()):
                    own.copy_(base + 0.3 * own)
        models[which].save_pretrained(root / which)
    states = {k: {n: t.double() for n, t in m.state_dict().items()} for k, m in models.items()}
    for i, (recipe, rule) in enumerate(CASES):
        recipe = {"models": [{"model": "a"}, {"model": "b"}], **recipe}
        expected = copy.deepcopy(models["base"])
        expected.load_state_dict({n: rule(n, *(states[k][n] for k in ("base", "a", "b"))).float() for n in states["base"]})
        out = root / f"out{i}"
        if merge(lancet, root, recipe, out, "--shard-size", "100kB"):
            compare(f"{name} {recipe['merge_method']}", out, expected)
            check(len(list(out.glob("*.safetensors"))) > 1, f"{name}: one shard only")
    if name == "gpt2":
        return
    stack = [("a", 0), ("a", 1), ("b", 1), ("b", 2), ("b", 3)]
    recipe = {"merge_method": "passthrough", "slices": [{"sources": [{"model": "a", "layer_range": [0, 2]}]},
                                                         {"sources": [{"model": "b", "layer_range": [1, 4]}]}]}
    if merge(lancet, root, recipe, root / "stack"):
        deeper = copy.deepcopy(config)
        deeper.num_hidden_layers = len(stack)
        if getattr(deeper, "layer_types", None):
            deeper.layer_types = ["full_attention"] * len(stack)
        expected = AutoModelForCausalLM.from_config(deeper, dtype=torch.float32)
        state = {n: t for n, t in models["a"].state_dict().items() if ".layers." not in n and n != "model.norm.weight" and n != "lm_head.weight"}
        state |= {n: t for n, t in models["b"].state_dict().items() if n in ("model.norm.weight", "lm_head.weight")}
        if config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        for to, (which, layer) in enumerate(stack):
            old = f"model.layers.{layer}."
            state |= {n.replace(old, f"model.layers.{to}."): t for n, t in models[which].state_dict().items() if n.startswith(old)}
        expected.load_state_dict(state)
        compare(f"{name} stacked", root / "stack", expected)


def main():
    lancet = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in FAMILIES.items():
            root = Path(scratch) / name.replace(" ", "_")
            root.mkdir()
            family(lancet, root, name, config)
    print(f"{len(problems)} differences")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

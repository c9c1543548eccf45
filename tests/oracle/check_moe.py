#!/usr/bin/env python3
"""`lancet moe` beside transformers: tiny dense models -> mixture -> transformers.

    check_moe.py LANCET

Equal experts under any router must give the dense model's logits (the routing weights sum to one); different experts must
stand where transformers looks for them, scaled as the recipe says; cheap_embed routers are the normalised differences of normalised sums of the
prompts' embeddings; hidden ones are made of transformers' hidden_states. Exit 1 with a list of differences, 0 otherwise.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from tiny_model import tokenizer_json  # noqa: E402

COMMON = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
DENSE = {"llama": LlamaConfig(**COMMON), "mistral": MistralConfig(**COMMON, sliding_window=None),
         "qwen3": Qwen3Config(**COMMON, head_dim=16)}
PROMPTS = {"positive_prompts": ["The capital of France", "Rome is"], "negative_prompts": ["the"]}
problems = []


def check(good, message):
    if not good:
        problems.append(message)
        print("WRONG", message)


def dense(config, folder, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    return model


def logits(model):
    ids = torch.randint(0, COMMON["vocab_size"], (2, 60), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.eval()(ids).logits


def moe(lancet, folder, recipe, out):
    (folder / "moe.yml").write_text(json.dumps(recipe))  # YAML holds JSON
    done = subprocess.run([lancet, "moe", str(folder / "moe.yml"), str(out), "--json"], capture_output=True, text=True)
    check(done.returncode == 0, f"{recipe}: {done.stderr}")
    return done.returncode == 0


def equal_experts(lancet, name, config, folder):
    reference = logits(dense(config, folder / "a", 1))
    for gate in ("random", "uniform_random"):
        recipe = {"base_model": "a", "gate_mode": gate, "experts": [{"source_model": "a"}] * 4}
        if moe(lancet, folder, recipe, folder / gate):
            model, info = AutoModelForCausalLM.from_pretrained(folder / gate, dtype=torch.float32, output_loading_info=True)
            check(not info["missing_keys"] and not info["unexpected_keys"], f"{name} {gate}: {info}")
            worst = (logits(model) - reference).abs().max().item()
            check(worst < 1e-5, f"{name} {gate}: logits differ by {worst}")


def different_experts(lancet, folder):
    dense(DENSE["llama"], folder / "a", 1)
    dense(DENSE["llama"], folder / "b", 2)
    recipe = {"base_model": "a", "gate_mode": "cheap_embed", "experts_per_token": 1,
              "experts": [{"source_model": "a", **PROMPTS},
                          {"source_model": "b", "positive_prompts": ["Paris"], "residual_scale": 0.5, "noise_scale": 0.01}]}
    if not moe(lancet, folder, recipe, folder / "out"):
        return
    a, b, out = (load_file(folder / x / "model.safetensors") for x in ("a", "b", "out"))
    tokenizer = Tokenizer.from_file(str(folder / "a" / "tokenizer.json"))
    table = a["model.embed_tokens.weight"].double()
    positive, negative = (sum(table[tokenizer.encode(p).ids].sum(0) for p in PROMPTS[f"{kind}_prompts"])
                          for kind in ("positive", "negative"))
    row = positive / positive.norm() - negative / negative.norm()   # as mergekit-moe
    for layer in range(COMMON["num_hidden_layers"]):
        here, there = f"model.layers.{layer}.mlp.", f"model.layers.{layer}.block_sparse_moe."
        for dense_name, sparse in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
            first, second = (out[f"{there}experts.{e}.{sparse}.weight"] for e in (0, 1))
            check(torch.equal(first, a[f"{here}{dense_name}.weight"]), f"expert 0 {sparse} of layer {layer}")
            scale = 0.5 if sparse == "w2" else 1.0
            noise = second - scale * b[f"{here}{dense_name}.weight"]
            check(0.008 < noise.std().item() < 0.012, f"expert 1 {sparse} of layer {layer}: noise of {noise.std().item()}")
        router = out[there + "gate.weight"].double()
        check((router[0] - row / row.norm()).abs().max().item() < 1e-6, f"router of layer {layer}")
    check(torch.equal(out["model.layers.0.self_attn.q_proj.weight"], a["model.layers.0.self_attn.q_proj.weight"]), "attention")


def shared_expert(lancet, folder):
    dense(Qwen2Config(**COMMON), folder / "a", 3)
    recipe = {"base_model": "a", "gate_mode": "random", "experts": [{"source_model": "a"}] * 2,
              "shared_experts": [{"source_model": "a"}]}
    if moe(lancet, folder, recipe, folder / "out"):
        model, info = AutoModelForCausalLM.from_pretrained(folder / "out", dtype=torch.float32, output_loading_info=True)
        check(not info["missing_keys"] and not info["unexpected_keys"], f"qwen2_moe: {info}")
        check(torch.isfinite(logits(model)).all().item(), "qwen2_moe: logits")


def hidden_gates(lancet, folder):
    """Routers from what enters every layer, against transformers' hidden_states; also negative prompts and a shared expert."""
    experts = [{"source_model": "a", **PROMPTS}, {"source_model": "a", "positive_prompts": ["Paris", "the capital"]}]
    for kind, config in (("llama", DENSE["llama"]), ("qwen2", Qwen2Config(**COMMON)), ("qwen3", DENSE["qwen3"])):
        place = folder / kind
        place.mkdir()
        model = dense(config, place / "a", 4).eval()
        tokenizer = Tokenizer.from_file(str(place / "a" / "tokenizer.json"))
        shared = [{"source_model": "a", "positive_prompts": ["of"]}] if kind == "qwen2" else []

        def states(prompt, average):
            with torch.no_grad():
                hidden = model(torch.tensor([tokenizer.encode(prompt).ids]), output_hidden_states=True).hidden_states
            return torch.stack([h[0].double().mean(0) if average else h[0, -1].double() for h in hidden[:-1]])

        for mode in (None, "hidden", "hidden_last", "hidden_avg"):
            recipe = {"base_model": "a", "experts": experts, **({"shared_experts": shared} if shared else {}),
                      **({"gate_mode": mode} if mode else {})}
            out = place / str(mode)
            if not moe(lancet, place, recipe, out):
                continue
            tensors = load_file(out / "model.safetensors")
            for layer in range(COMMON["num_hidden_layers"]):
                where = f"model.layers.{layer}." + ("block_sparse_moe.gate.weight" if kind == "llama" else "mlp.gate.weight")
                rows = list(tensors[where].double())
                if shared:
                    rows += list(tensors[f"model.layers.{layer}.mlp.shared_expert_gate.weight"].double())
                check(len(rows) == len(experts + shared), f"{kind} {mode}: {len(rows)} rows")
                for row, expert in zip(rows, experts + shared):
                    mean = [torch.stack([states(p, mode == "hidden_avg")[layer] for p in expert.get(key, [])]).mean(0)
                            for key in ("positive_prompts", "negative_prompts") if expert.get(key)]
                    wanted = mean[0] - mean[1] if len(mean) == 2 else mean[0]
                    gap = (row - wanted / wanted.norm()).abs().max().item()
                    check(gap < 2e-5, f"{kind} {mode}: router of layer {layer} differs by {gap}")   # two float32 forward passes


def deepseek(lancet, folder):
    """DeepSeek-MoE is not in transformers: its layout by its published code, run here with the dense model's attention."""
    model = dense(DENSE["llama"], folder / "a", 6).eval()
    reference = logits(model)
    for shared in (0, 1):
        recipe = {"base_model": "a", "architecture": "deepseek", "gate_mode": "random", "experts": [{"source_model": "a"}] * 4,
                  **({"shared_experts": [{"source_model": "a", "residual_scale": 0}]} if shared else {})}
        if not moe(lancet, folder, recipe, folder / f"out{shared}"):
            continue
        tensors = load_file(folder / f"out{shared}" / "model.safetensors")
        config = json.loads((folder / f"out{shared}" / "config.json").read_text())
        check((config["n_routed_experts"], config["n_shared_experts"], config["moe_intermediate_size"], config["norm_topk_prob"]) ==
              (4, 1 if shared else None, COMMON["intermediate_size"], True), f"deepseek: {config}")

        class Mixture(torch.nn.Module):
            def __init__(self, prefix):
                super().__init__()
                self.prefix = prefix

            def mlp(self, name, x):
                gate, up, down = (tensors[f"{self.prefix}{name}.{p}_proj.weight"] for p in ("gate", "up", "down"))
                return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T

            def forward(self, x):
                chances, chosen = (x @ tensors[self.prefix + "gate.weight"].T).softmax(-1).topk(config["num_experts_per_tok"])
                chances = chances / chances.sum(-1, keepdim=True)
                every = torch.stack([self.mlp(f"experts.{e}", x) for e in range(4)], -2)
                out = (chances.unsqueeze(-1) * every.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, x.shape[-1]))).sum(-2)
                return out + self.mlp("shared_experts", x) if shared else out

        for layer, block in enumerate(model.model.layers):
            block.mlp = Mixture(f"model.layers.{layer}.mlp.")
        worst = (logits(model) - reference).abs().max().item()
        check(worst < 1e-5, f"deepseek with {shared} shared: logits differ by {worst}")


def main():
    lancet = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in DENSE.items():
            folder = Path(scratch) / name
            folder.mkdir()
            equal_experts(lancet, name, config, folder)
        for name, step in (("different", different_experts), ("shared", shared_expert), ("hidden", hidden_gates), ("deepseek", deepseek)):
            folder = Path(scratch) / name
            folder.mkdir()
            step(lancet, folder)
    print(f"{len(problems)} differences")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

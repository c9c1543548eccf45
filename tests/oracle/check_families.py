#!/usr/bin/env python3
"""Tiny models of every family with a GGUF form: transformers -> lancet convert -> GGUF -> lancet convert -> transformers.

    check_families.py LANCET

Every model is made by transformers with random values; the directory that comes back must load and give the same
logits, bit for bit, and gguf-py must read the GGUF. Exit 1 with a list of differences, 0 otherwise.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

COMMON = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
FAMILIES = {
    "llama": LlamaConfig(**COMMON),
    "llama_tied": LlamaConfig(**COMMON, tie_word_embeddings=True),
    "llama_bias": LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True),
    "llama_headdim": LlamaConfig(**COMMON, head_dim=32),
    "llama_theta": LlamaConfig(**COMMON, rope_parameters={"rope_type": "default", "rope_theta": 123456.0}),
    "llama_rope_llama3": LlamaConfig(**COMMON, rope_parameters=LLAMA3),
    "llama_rope_linear": LlamaConfig(**COMMON, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
    "llama_rope_yarn": LlamaConfig(**COMMON, rope_parameters={
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}),
    "mistral": MistralConfig(**COMMON, sliding_window=None),
    "qwen2": Qwen2Config(**COMMON),
    "qwen3": Qwen3Config(**COMMON, head_dim=16, tie_word_embeddings=True),
}


def logits(model):
    ids = torch.randint(0, COMMON["vocab_size"], (2, 100), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.eval()(ids).logits


def check(name, config, lancet, folder):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "a")
    for source, target in (("a", "b.gguf"), ("b.gguf", "c")):
        done = subprocess.run([lancet, "convert", folder / source, folder / target], capture_output=True, text=True)
        if done.returncode != 0:
            return f"convert {source} {target}: {done.stderr.strip()}"
    reader = gguf.GGUFReader(folder / "b.gguf")
    if len(reader.tensors) < len(model.state_dict()) - 1:
        return f"the GGUF has {len(reader.tensors)} tensors"
    back = AutoModelForCausalLM.from_pretrained(folder / "c")
    worst = (logits(model) - logits(back)).abs().max().item()
    return None if worst == 0 else f"logits differ by {worst}"


def main():
    bad = 0
    for name, config in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            problem = check(name, config, sys.argv[1], Path(folder))
        print(f"{name}: {problem or 'equal'}")
        bad += problem is not None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Writes tests/data/tiny_models: random Llama checkpoints of a few kilobytes, each with what transformers
computes for it (golden.safetensors). Deterministic; run it again after adding a variant.

golden.safetensors: ids int64 [2, 48], logits float32 [2, 48, vocab] (float32, eager attention),
prompt_tokens int64 [1], greedy int64 [2, 16] (each step a full pass of the growing text, no cache), and gap
float32 [2, 16], how far the best logit stood above the second.
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).parent.parent / "data" / "tiny_models"
BASE = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False)

# name: (config, dtype on disk, written as before transformers 5)
VARIANTS = {
    "plain": ({}, torch.bfloat16, False),
    "tied": (dict(tie_word_embeddings=True), torch.float32, False),
    "bias": (dict(attention_bias=True, mlp_bias=True), torch.float16, False),
    "mha": (dict(num_key_value_heads=4), torch.bfloat16, True),
    "one_kv_head": (dict(num_key_value_heads=1, num_hidden_layers=3, tie_word_embeddings=True), torch.bfloat16, False),
    "head_dim": (dict(head_dim=12), torch.bfloat16, False),
    "gelu": (dict(hidden_act="gelu_new"), torch.bfloat16, False),
    "theta": (dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)), torch.bfloat16, True),
    "linear": (dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)), torch.bfloat16, True),
    "dynamic": (dict(max_position_embeddings=32,
                     rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0)), torch.bfloat16, True),
    "llama3": (dict(rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=16)),
               torch.bfloat16, False),
    "yarn": (dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                                       original_max_position_embeddings=16)), torch.bfloat16, False),
    "yarn_untruncated": (dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=2.0, beta_fast=16.0,
                                                   beta_slow=2.0, truncate=False, mscale=0.7, mscale_all_dim=1.2,
                                                   original_max_position_embeddings=32)), torch.bfloat16, False),
    "longrope": (dict(rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, factor=4.0,
                                           original_max_position_embeddings=32,
                                           short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 4.0])),
                 torch.bfloat16, False),
}


def random_model(config, dtype, seed):
    """A model whose weights are exactly representable in `dtype`, computed in float32."""
    generator = torch.Generator().manual_seed(seed)
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                value = 1 + 0.2 * noise
            elif parameter.dim() == 1:
                value = 0.3 * noise
            elif "embed" in name:
                value = noise
            else:
                value = noise * 1.2 / parameter.shape[1] ** 0.5
            parameter.copy_(value.to(dtype).float())
    return model


def fresh(model):
    """The same weights without history: dynamic RoPE remembers the longest text it has seen."""
    copy = LlamaForCausalLM._from_config(model.config, attn_implementation="eager").float().eval()
    copy.load_state_dict(model.state_dict())
    return copy


def greedy(model, prompts, count):
    ids, gaps = prompts, []
    for _ in range(count):
        logits = fresh(model)(ids, use_cache=False).logits[:, -1]
        best = logits.topk(2).values
        gaps.append(best[:, 0] - best[:, 1])
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids[:, prompts.shape[1]:].contiguous(), torch.stack(gaps, 1).contiguous()


def old_style(path):
    """rope_theta and rope_scaling as files before transformers 5 have them."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config, indent=2) + "\n")


def main():
    torch.set_num_threads(1)
    for number, (name, (changes, dtype, old)) in enumerate(VARIANTS.items()):
        config = LlamaConfig(**{**BASE, **changes}, bos_token_id=1, eos_token_id=2)
        model = random_model(config, dtype, seed=1000 + number)
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        generator = torch.Generator().manual_seed(number)
        ids = torch.randint(0, config.vocab_size, (2, 48), generator=generator)
        prompt_tokens = 12
        with torch.no_grad():
            logits = fresh(model)(ids, use_cache=False).logits
            continuation, gap = greedy(model, ids[:, :prompt_tokens], 16)
        model.to(dtype).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if old:
            old_style(folder / "config.json")
        save_file({"ids": ids, "logits": logits.contiguous(), "prompt_tokens": torch.tensor([prompt_tokens]),
                   "greedy": continuation, "gap": gap}, folder / "golden.safetensors")
        print(f"{name}: logits std {logits.std():.2f}, smallest gap {gap.min():.4f}", file=sys.stderr)


if __name__ == "__main__":
    main()

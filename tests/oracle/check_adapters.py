#!/usr/bin/env python3
"""Adapters against peft. Usage: check_adapters.py LANCET

- peft's merge_and_unload and `lancet adapter merge` give the same weights, for plain, rank-stabilised, patterned and DoRA
  adapters, with an adapted embedding and a saved head, with both adapted;
- where the model ties embeddings and head, what `adapter merge` writes gives in transformers, and MODEL+ADAPTER here, the
  logits of peft's model before it is merged;
- peft loads what `lancet adapter extract` and `combine` write, and its merged weights are those that were asked for;
- peft gives the tuned model from what `extract --save-rest` writes, where biases, norms and embeddings have changed, in all or
  in some of the layers;
- `combine --method linear`, cat and svd are peft's add_weighted_adapter.
"""
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, LlamaForCausalLM, Qwen2Config

from train_cases import save_tokenizer

TOLERANCE = 2e-6
failures = 0


def report(name, difference, tolerance=TOLERANCE):
    global failures
    bad = not difference <= tolerance
    failures += bad
    print(f"{'FAIL' if bad else 'ok  '} {name}: {difference:.1e}")


def run(lancet, *args):
    done = subprocess.run([lancet, *map(str, args), "--json", "--device", "cpu"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lancet {args}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def largest(a, b):
    missing = set(a) ^ set(b)
    if missing:
        sys.exit(f"different names: {sorted(missing)[:4]}")
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def state(model):
    return {k: v for k, v in model.state_dict().items()}


def save_adapter(base, path, seed, **options):
    torch.manual_seed(seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.add_(torch.randn_like(value) * 0.05)
    model.save_pretrained(path)
    return path


def merged(base, path):
    return state(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), path).merge_and_unload())


def logits_of(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def check_tied(lancet, root, name, config, kinds):
    """Factors on one of two modules that share a matrix, or on both."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    base = root / name
    model.save_pretrained(base)
    save_tokenizer(base)
    ids = torch.randint(0, config.vocab_size, (2, 20), generator=torch.Generator().manual_seed(4))
    save_file({"ids": ids}, root / "ids.safetensors")
    for seed, (kind, options) in enumerate(kinds.items()):
        adapter = save_adapter(base, root / f"{name}_{kind}", seed, r=4, lora_alpha=6, **options)
        wanted = logits_of(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter), ids)
        run(lancet, "forward", f"{base}+{adapter}", "--ids-file", root / "ids.safetensors", "--out", root / "logits.safetensors",
            "--force")
        own = load_file(root / "logits.safetensors")["logits"]
        report(f"{name}, {kind}: MODEL+ADAPTER", float((own - wanted).abs().max() / wanted.abs().max()), 1e-5)
        out = root / f"{name}_{kind}_merged"
        run(lancet, "adapter", "merge", base, adapter, "-o", out)
        merged_logits = logits_of(AutoModelForCausalLM.from_pretrained(out), ids)
        report(f"{name}, {kind}: merged", float((merged_logits - wanted).abs().max() / wanted.abs().max()), 1e-5)


def check_rest(lancet, root):
    common = dict(vocab_size=60, num_hidden_layers=2, num_attention_heads=4, tie_word_embeddings=False)
    for name, config in {"qwen2": Qwen2Config(hidden_size=32, intermediate_size=48, num_key_value_heads=2, **common),
                         "gpt2": GPT2Config(n_positions=64, n_embd=32, bos_token_id=None, eos_token_id=None, **common)}.items():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(root / f"{name}_base")
        start = {k: v.clone() for k, v in state(model).items()}
        for kind in ("all", "first layer", "biases"):
            with torch.no_grad():
                for key, value in model.named_parameters():
                    value.copy_(start[key])
                    if kind == "all" or (kind == "first layer" and ".0." in key) or (kind == "biases" and (key.endswith("bias") or ".1.mlp." in key)):
                        value.add_(torch.randn_like(value) * 0.05)
            tuned, out = root / f"{name} {kind}", root / f"{name} {kind} adapter"
            model.save_pretrained(tuned)
            run(lancet, "adapter", "extract", root / f"{name}_base", tuned, "--rank", 99, "--svd", "exact", "--save-rest", "-o", out)
            run(lancet, "adapter", "check", root / f"{name}_base", out)
            report(f"extract --save-rest, {name}, {kind}", largest(merged(root / f"{name}_base", out), state(model)), 1e-5)


def main(lancet):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                             num_key_value_heads=2, tie_word_embeddings=False)
        LlamaForCausalLM(config).save_pretrained(root / "base")
        base = root / "base"
        every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        kinds = {
            "plain": dict(r=4, lora_alpha=12, target_modules=every),
            "rslora": dict(r=4, lora_alpha=6, target_modules=every, use_rslora=True),
            "patterns": dict(r=4, lora_alpha=6, target_modules=every, rank_pattern={"layers.0.self_attn.q_proj": 2, ".*down_proj": 3},
                             alpha_pattern={"up_proj": 1}),
            "dora": dict(r=4, lora_alpha=6, target_modules=every, use_dora=True),
            "embedding": dict(r=4, lora_alpha=6, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"]),
            "ends": dict(r=4, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "q_proj"]),
            "dora ends": dict(r=4, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "q_proj"], use_dora=True),
        }
        for seed, (name, options) in enumerate(kinds.items()):
            adapter = save_adapter(base, root / name, seed, **options)
            found = run(lancet, "adapter", "check", base, adapter)
            assert found["ok"] and found["modules"], found
            run(lancet, "adapter", "merge", base, adapter, "-o", root / f"{name}.safetensors")
            report(f"adapter merge, {name}", largest(load_file(root / f"{name}.safetensors"), merged(base, adapter)))
        run(lancet, "convert", f"{base}+{root / 'plain'}", root / "tuned")
        report("MODEL+ADAPTER", largest(load_file(root / "tuned" / "model.safetensors"), merged(base, root / "plain")))
        run(lancet, "adapter", "extract", base, root / "tuned", "--rank", 4, "--svd", "exact", "-o", root / "extracted")
        report("adapter extract", largest(merged(base, root / "extracted"), merged(base, root / "plain")), 1e-5)

        other = save_adapter(base, root / "other", 9, r=4, lora_alpha=8, target_modules=every)
        for method, weights in itertools.product(("cat", "linear", "svd"), ([0.7, 0.4], [0.7, -0.4])):
            ours = ["--rank", 4] if method == "svd" else []
            out = root / f"combined_{method}_{weights[1]}"
            run(lancet, "adapter", "combine", root / "plain", other, "--weights", ",".join(map(str, weights)), "--method", method,
                *ours, "-o", out)
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), root / "plain", adapter_name="a")
            model.load_adapter(other, adapter_name="b")
            model.add_weighted_adapter(["a", "b"], weights, "c", combination_type=method, **({"svd_rank": 4} if ours else {}))
            model.set_adapter("c")
            report(f"adapter combine, {method} {weights}", largest(merged(base, out), state(model.merge_and_unload())), 1e-5)
        check_rest(lancet, root)
        ends = {"embeddings": dict(target_modules=["embed_tokens", "q_proj"]), "head": dict(target_modules=["lm_head"]),
                "both": dict(target_modules=["embed_tokens", "lm_head"]),
                "dora": dict(target_modules=["embed_tokens", "lm_head", "q_proj"], use_dora=True),
                "whole embeddings": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"])}
        tied = {**config.to_dict(), "vocab_size": 260, "tie_word_embeddings": True}
        check_tied(lancet, root, "llama", LlamaConfig(**tied), ends)
        check_tied(lancet, root, "gpt2", GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=None,
                                              eos_token_id=None), {
            "both": dict(target_modules=["wte", "lm_head", "c_attn", "c_proj"]),
            "last is the head": dict(target_modules=["c_proj", "lm_head"], fan_in_fan_out=True)})
    print(f"{failures} failures")
    return 1 if failures else 0


sys.exit(main(*sys.argv[1:]))

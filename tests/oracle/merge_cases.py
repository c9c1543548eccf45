"""Tiny checkpoints and the recipes on which lancet is compared with mergekit. Only numpy and safetensors."""
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

HIDDEN, INNER, VOCAB, LAYERS = 8, 16, 32, 3


def tensors(seed, base=None, spread=0.02, scale=None):
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        for name in "qkvo":
            shapes[p + f"self_attn.{name}_proj.weight"] = (HIDDEN, HIDDEN)
        shapes |= {p + "mlp.gate_proj.weight": (INNER, HIDDEN), p + "mlp.up_proj.weight": (INNER, HIDDEN),
                   p + "mlp.down_proj.weight": (HIDDEN, INNER), p + "input_layernorm.weight": (HIDDEN,),
                   p + "post_attention_layernorm.weight": (HIDDEN,)}
    out = {}
    for name in sorted(shapes):
        noise = rng.standard_normal(shapes[name]).astype(np.float32) * np.float32(spread)
        out[name] = noise if base is None else (base[name] + noise).astype(np.float32)
    return out


def write_model(folder, values):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": VOCAB,
        "tie_word_embeddings": False, "torch_dtype": "float32"}, indent=2))


def write_models(root):
    """base and three fine-tunes a, b, c with large deltas, so that no method degenerates."""
    root = pathlib.Path(root)
    base = tensors(1, spread=0.05)
    write_model(root / "base", base)
    for seed, name in enumerate("abc", start=2):
        write_model(root / name, tensors(seed, base, spread=0.02))


def models(names, **parameters):
    """`parameters`: name -> list with one value a model."""
    out = []
    for i, name in enumerate(names):
        entry = {"model": name}
        own = {key: values[i] for key, values in parameters.items()}
        if own:
            entry["parameters"] = own
        out.append(entry)
    return out


def cases():
    """name -> recipe. Deterministic methods only: random masks cannot be equal."""
    three, weights = ["a", "b", "c"], [0.5, 0.3, 0.2]
    out = {
        "linear": {"merge_method": "linear", "models": models(three, weight=weights)},
        "linear_plain": {"merge_method": "linear", "models": models(three, weight=[1.0, -0.4, 0.7]), "parameters": {"normalize": False}},
        "linear_gradient": {"merge_method": "linear", "models": models(["a", "b"], weight=[[0.1, 0.5, 0.9], 0.5])},
        "linear_filter": {"merge_method": "linear", "models": models(
            ["a", "b"], weight=[[{"filter": "mlp", "value": 0.9}, {"filter": "self_attn", "value": [0.2, 0.6]}, {"value": 0.5}], 0.5])},
        "slerp": {"merge_method": "slerp", "base_model": "a", "models": models(["a", "b"]), "parameters": {"t": 0.35}},
        "slerp_gradient": {"merge_method": "slerp", "base_model": "a", "slices": [{"sources": [
            {"model": "a", "layer_range": [0, LAYERS]}, {"model": "b", "layer_range": [0, LAYERS]}]}],
            "parameters": {"t": [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": [1, 0]}, {"value": 0.5}]}},
        "nuslerp": {"merge_method": "nuslerp", "models": models(["a", "b"], weight=[0.6, 0.4])},
        "nuslerp_rows": {"merge_method": "nuslerp", "models": models(["a", "b"], weight=[0.6, 0.4]),
                         "parameters": {"nuslerp_flatten": False}},
        "nuslerp_columns": {"merge_method": "nuslerp", "models": models(["a", "b"], weight=[0.6, 0.4]),
                            "parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True}},
        "nuslerp_base": {"merge_method": "nuslerp", "base_model": "base", "models": models(["a", "b"], weight=[0.6, 0.4])},
        "multislerp": {"merge_method": "multislerp", "models": models(three, weight=weights)},
        "multislerp_base": {"merge_method": "multislerp", "base_model": "base", "models": models(three, weight=weights)},
        "karcher": {"merge_method": "karcher", "models": models(three)},
        "task_arithmetic": {"merge_method": "task_arithmetic", "base_model": "base", "models": models(three, weight=weights)},
        "task_arithmetic_normalized": {"merge_method": "task_arithmetic", "base_model": "base", "models": models(three, weight=weights),
                                       "parameters": {"normalize": True, "lambda": 0.7}},
        "ties": {"merge_method": "ties", "base_model": "base", "models": models(three, weight=weights, density=[0.5, 0.3, 0.8])},
        "ties_plain": {"merge_method": "ties", "base_model": "base", "models": models(three, weight=weights),
                       "parameters": {"density": 0.4, "normalize": False, "rescale": True}},
        "dare_ties_dense": {"merge_method": "dare_ties", "base_model": "base", "models": models(three, weight=weights)},
        "della_dense": {"merge_method": "della", "base_model": "base", "models": models(three, weight=weights)},
        "breadcrumbs": {"merge_method": "breadcrumbs", "base_model": "base", "models": models(three, weight=weights),
                        "parameters": {"density": 0.6, "gamma": 0.05}},
        "breadcrumbs_ties": {"merge_method": "breadcrumbs_ties", "base_model": "base", "models": models(three, weight=weights),
                             "parameters": {"density": 0.6, "gamma": 0.05}},
        "sce": {"merge_method": "sce", "base_model": "base", "models": models(three)},
        "sce_topk": {"merge_method": "sce", "base_model": "base", "models": models(three), "parameters": {"select_topk": 0.4}},
        "ram": {"merge_method": "ram", "base_model": "base", "models": models(three), "parameters": {"epsilon": 0.01}},
        "ramplus_tl": {"merge_method": "ramplus_tl", "base_model": "base", "models": models(three), "parameters": {"epsilon": 0.01}},
        "model_stock": {"merge_method": "model_stock", "base_model": "base", "models": models(three)},
        "model_stock_rows": {"merge_method": "model_stock", "base_model": "base", "models": models(three),
                             "parameters": {"filter_wise": True}},
        "nearswap": {"merge_method": "nearswap", "base_model": "base", "models": models(["a"]), "parameters": {"t": 0.005}},
        "arcee_fusion": {"merge_method": "arcee_fusion", "base_model": "base", "models": models(["a"])},
        "passthrough": {"merge_method": "passthrough", "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 2]}]},
            {"sources": [{"model": "b", "layer_range": [1, 3], "parameters": {"scale": [{"filter": "down_proj", "value": 0.5}, {"value": 1.0}]}}]}]},
    }
    for recipe in out.values():
        recipe["dtype"] = "float32"
    return out

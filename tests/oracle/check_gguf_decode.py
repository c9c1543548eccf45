"""Compares a Hugging Face directory that lancet made of a GGUF with the gguf library's reading of that GGUF.

Usage: python tests/oracle/check_gguf_decode.py MODEL.gguf HF_DIR   (needs gguf, numpy, torch, safetensors)
Every tensor must be there once, with the reversed shape, and hold gguf's values bit for bit: as float32, or
rounded to the directory's own dtype. Llama's Q/K row permutation is undone here. Exit 1 at any difference.
"""

import argparse
import re
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open

TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
       "output.weight": "lm_head.weight"}
BLOCK = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
         "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
PERMUTED = {"llama"}  # architectures whose rotary embedding pairs neighbouring rows in GGUF


def hf_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    layer, part, kind = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name).groups()
    return f"model.layers.{layer}.{BLOCK[part]}.{kind}"


def unpermuted(values: np.ndarray, heads: int) -> np.ndarray:
    """Row 2i + j of a head becomes row j * D/2 + i."""
    rest = values.shape[1:]
    return values.reshape(heads, -1, 2, *rest).swapaxes(1, 2).reshape(values.shape)


def reference(path: str) -> dict[str, np.ndarray]:
    reader = gguf.GGUFReader(path)
    arch = reader.get_field("general.architecture").contents()
    heads = reader.get_field(f"{arch}.attention.head_count").contents()
    kv_field = reader.get_field(f"{arch}.attention.head_count_kv")
    kv_heads = kv_field.contents() if kv_field else heads
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape[::-1]]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if arch in PERMUTED and ".attn_q." in tensor.name:
            values = unpermuted(values, heads)
        if arch in PERMUTED and ".attn_k." in tensor.name:
            values = unpermuted(values, kv_heads)
        tensors[hf_name(tensor.name)] = values
    return tensors


def stored(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if name in tensors:
                    sys.exit(f"{name}: in two files")
                tensors[name] = file.get_tensor(name)
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf")
    parser.add_argument("hf_dir", type=Path)
    options = parser.parse_args()
    expected, found = reference(options.gguf), stored(options.hf_dir)
    if expected.keys() != found.keys():
        missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        sys.exit(f"{len(missing)} tensors missing {missing[:5]}, {len(extra)} too many {extra[:5]}")
    wrong = 0
    for name, values in expected.items():
        want = torch.from_numpy(np.array(values)).to(found[name].dtype)
        bits = torch.int16 if want.element_size() == 2 else torch.int32
        if want.shape != found[name].shape or not torch.equal(want.view(bits), found[name].view(bits)):
            wrong += 1
            print(f"{name}: differs")
    print(f"{len(expected)} tensors compared, {wrong} differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

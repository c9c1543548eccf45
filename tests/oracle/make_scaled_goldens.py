#!/usr/bin/env python3
"""Writes tests/data/scaled: tiny random checkpoints whose weights are quantised as people meet them on the Hub, each
with what transformers computes in float32 with the weights that they stand for (golden.safetensors, as in
make_family_goldens.py) and these weights' values where they are of interest ("weight.NAME"). Deterministic.

The formulas are written out here. Where transformers decodes such a file itself (blocks of fp8, MXFP4), its own logits
are compared.

    make_scaled_goldens.py [--out FOLDER] [CASE...]
"""
import argparse
import json
import pathlib
import shutil
import sys
import zlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config

from family_cases import CASES, LLAMA, Case, answers, random_model

OUT = pathlib.Path(__file__).parent.parent / "data" / "scaled"
E4M3 = torch.float8_e4m3fn
MXFP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
PLAIN = ("embed_tokens", "lm_head", "router", "mlp.gate.weight", "norm")


def blocks(weight, block):
    """fp8 with a scale for each block of [block, block]; edges are shorter."""
    rows, columns = weight.shape
    scales = torch.empty((-(-rows // block), -(-columns // block)))
    codes, decoded = torch.empty_like(weight, dtype=E4M3), torch.empty_like(weight)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            scales[i, j] = weight[at].abs().max() / 448
            codes[at] = (weight[at] / scales[i, j]).to(E4M3)
            decoded[at] = codes[at].float() * scales[i, j]
    return codes, scales, decoded


def scaled(weight, scale, to):
    """One scale for the tensor, or one for each row."""
    limit = 448 if to == E4M3 else 127
    scale = (scale / limit).to(torch.bfloat16)
    codes = (weight / scale.float()).clamp(-limit, limit)
    codes = codes.to(to) if to == E4M3 else codes.round().to(to)
    return codes, scale, codes.float() * scale.float()


def per_tensor(weight, to=E4M3):
    codes, scale, decoded = scaled(weight, weight.abs().max().reshape(1), to)
    return codes, scale, decoded


def per_row(weight, to=E4M3):
    return scaled(weight, weight.abs().amax(1, keepdim=True), to)


def mxfp4(weight):
    """weight [experts, in, out] -> blocks [experts, out, in / 32, 16], scales [experts, out, in / 32], values."""
    turned = weight.transpose(1, 2)
    groups = turned.reshape(*turned.shape[:2], -1, 32)
    power = torch.floor(torch.log2(groups.abs().amax(-1).clamp_min(1e-30))) - 2
    units = groups / torch.exp2(power).unsqueeze(-1)
    code = (units.abs().unsqueeze(-1) - torch.tensor(MXFP4)).abs().argmin(-1)
    values = torch.tensor(MXFP4)[code] * torch.sign(units) * torch.exp2(power).unsqueeze(-1)
    code = (code + 8 * (units < 0)).to(torch.uint8)
    packed = code[..., 0::2] | (code[..., 1::2] << 4)
    return packed, (power + 127).to(torch.uint8), values.reshape(turned.shape).transpose(1, 2).contiguous()


def compressed(name, bits, kind, strategy):
    return {"quant_method": "compressed-tensors", "format": name, "ignore": ["lm_head"], "config_groups": {"group_0": {
        "targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "symmetric": True, "strategy": strategy}}}}


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
DENSE = Case("LlamaConfig", LLAMA)
EVEN = Case("LlamaConfig", {**LLAMA, "intermediate_size": 48})
OSS = Case("GptOssConfig", {**CASES["gpt_oss"].options, "hidden_size": 32, "intermediate_size": 32})
# name: (model, quantization_config, suffix of the scales, how a matrix is quantised)
KINDS = {
    "fp8-blocks": (EVEN, FP8, "_scale_inv", lambda w: blocks(w, 16)),
    "fp8-edges": (DENSE, FP8, "_scale_inv", lambda w: blocks(w, 16)),
    "fp8-deepseek": (CASES["deepseek_v3"], FP8, "_scale_inv", lambda w: blocks(w, 16)),
    "compressed-tensor": (DENSE, compressed("naive-quantized", 8, "float", "tensor"), "_scale", per_tensor),
    "compressed-channel": (DENSE, compressed("float-quantized", 8, "float", "channel"), "_scale", per_row),
    "compressed-int8": (DENSE, compressed("int-quantized", 8, "int", "channel"), "_scale",
                        lambda w: per_row(w, torch.int8)),
    "mxfp4": (OSS, {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "", None),
}


def quantise(weights, suffix, how):
    """-> what the file holds, what its weights stand for."""
    stored, decoded = {}, {}
    for name, weight in weights.items():
        weight = weight.float()
        if how is None and name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name + "_blocks"], stored[name + "_scales"], decoded[name] = mxfp4(weight)
        elif how is not None and weight.dim() == 2 and not any(part in name for part in PLAIN):
            stored[name], stored[name + suffix], decoded[name] = how(weight)
        else:
            stored[name] = weights[name]
    return stored, decoded


def own_logits(folder, ids, how):
    """transformers' own decoding."""
    options = {} if how is None else {"quantization_config": FineGrainedFP8Config(
        weight_block_size=(16, 16), dequantize=True)}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **options)
    with torch.no_grad():
        return model.float().eval()(ids).logits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for kind in args.cases or KINDS:
        case, quantization, suffix, how = KINDS[kind]
        folder = args.out / kind
        shutil.rmtree(folder, ignore_errors=True)
        random_model(case, zlib.crc32(kind.encode())).to(torch.bfloat16).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        stored, decoded = quantise(load_file(folder / "model.safetensors"), suffix, how)
        plain = args.out / "plain"
        shutil.copytree(folder, plain)
        save_file({name: tensor.float() for name, tensor in {**load_file(folder / "model.safetensors"), **decoded}.items()},
                  plain / "model.safetensors", metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32, attn_implementation="eager").eval()
        shutil.rmtree(plain)
        golden = answers(model, zlib.crc32(kind.encode()))
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = quantization
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        if kind in ("fp8-blocks", "mxfp4"):  # transformers has no blocks cut off by an edge
            own = own_logits(folder, golden["ids"], how)
            print(f"{kind}: transformers' own logits differ by {(own - golden['logits']).abs().max():.2e}", file=sys.stderr)
        name = sorted(decoded)[-1]
        golden["weight." + name] = decoded[name]
        save_file(golden, folder / "golden.safetensors")
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1024
        print(f"{kind}: {len(decoded)} matrices, {size:.0f} KiB", file=sys.stderr)


if __name__ == "__main__":
    main()

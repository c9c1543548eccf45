#!/usr/bin/env python3
"""Checks a conversion of a Llama GGUF against the reference libraries.

    check_converted.py DIR GGUF [--lancet BIN]    DIR: what `lancet convert GGUF DIR` wrote
    check_converted.py NEW.gguf GGUF              NEW.gguf: F32, F16, BF16 or Q8_0 made from GGUF (or from DIR)

A directory must load with transformers with no edits, hold the values that gguf-py dequantises (rows of q and k in
transformers' order) in the dtype it claims, give the logits of a model assembled by hand from them, and tokenise as
the pipeline the GGUF metadata asks for. A GGUF must hold the same values, or Q8_0 as gguf-py quantises them, and the
same vocabulary. Exit 1 with a list of differences, 0 otherwise.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

TEXTS = [
    "The capital of France is", "", " ", "  two  blanks ", "12345 67.89", "don't you'll I'VE we're",
    "tab\tnewline\nreturn\r\n\n\n end", "naïve café Ünïcödé", "日本語のテキスト", "emoji 🙂👩‍👩‍👧‍👦", "x" * 300, "a1b2c3",
    "<|im_start|>user\nHello<|im_end|>\n", "<|im_start|> <|endoftext|><|im_end|>", "def f(x):\n    return x + 1\n",
    "\u00a0nbsp\u2003em", "e\u0301 combining", "0123456789" * 5, "मानक हिन्दी", "!!!???...---",
]

PROBLEMS = []


def problem(text):
    PROBLEMS.append(text)
    print(f"difference: {text}")


def field(reader, key, default=None):
    found = reader.get_field(key)
    return default if found is None else found.contents()


def reference_tensors(reader):
    """GGUF name -> float32 array as gguf-py dequantises it."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(
        [int(d) for d in reversed(t.shape)]) for t in reader.tensors}


def unpermute(weight, heads):
    """Row 2i + j of a head (GGUF) is row j * D/2 + i of transformers."""
    dim = weight.shape[0] // heads
    return weight.reshape(heads, dim // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def hf_tensors(reader):
    arch = field(reader, "general.architecture")
    heads = field(reader, f"{arch}.attention.head_count")
    kv_heads = field(reader, f"{arch}.attention.head_count_kv", heads)
    names = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
           "output.weight": "lm_head.weight"}
    out = {}
    for name, value in reference_tensors(reader).items():
        if name in top:
            out[top[name]] = value
            continue
        _, layer, part, suffix = name.split(".")
        if part in ("attn_q", "attn_k"):
            value = unpermute(value, heads if part == "attn_q" else kv_heads)
        out[f"model.layers.{layer}.{names[part]}.{suffix}"] = value
    return out


def check_weights(directory, expected):
    import torch
    from safetensors import safe_open
    found = {}
    for path in sorted(Path(directory).glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("format") != "pt":
                problem(f"{path.name}: metadata is {file.metadata()}")
            for name in file.keys():
                found[name] = file.get_tensor(name)
    if found.keys() != expected.keys():
        problem(f"names: {sorted(found.keys() ^ expected.keys())[:8]}")
    claimed = json.loads((Path(directory) / "config.json").read_text())["dtype"]
    for name in found.keys() & expected.keys():
        want = torch.from_numpy(np.ascontiguousarray(expected[name])).to(found[name].dtype)
        if str(found[name].dtype) != f"torch.{claimed}":
            problem(f"{name}: {found[name].dtype}, config.json says {claimed}")
        if found[name].shape != want.shape or not torch.equal(found[name], want):
            problem(f"{name}: values differ")


def check_logits(directory, reader, expected):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    arch = field(reader, "general.architecture")
    model = AutoModelForCausalLM.from_pretrained(directory)
    dtype = next(model.parameters()).dtype
    heads = field(reader, f"{arch}.attention.head_count")
    config = LlamaConfig(
        vocab_size=expected["model.embed_tokens.weight"].shape[0], hidden_size=field(reader, f"{arch}.embedding_length"),
        intermediate_size=field(reader, f"{arch}.feed_forward_length"), num_attention_heads=heads,
        num_hidden_layers=field(reader, f"{arch}.block_count"),
        num_key_value_heads=field(reader, f"{arch}.attention.head_count_kv", heads),
        max_position_embeddings=field(reader, f"{arch}.context_length"),
        rms_norm_eps=field(reader, f"{arch}.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field(reader, f"{arch}.rope.freq_base", 10000.0)},
        tie_word_embeddings="lm_head.weight" not in expected)
    by_hand = LlamaForCausalLM(config)
    for parameter in by_hand.parameters():  # not the rotary buffer, which stays float32
        parameter.data = parameter.data.to(dtype)
    state = {k: torch.from_numpy(np.ascontiguousarray(v)).to(dtype) for k, v in expected.items()}
    missing = by_hand.load_state_dict(state, strict=False)
    by_hand.tie_weights()
    if [k for k in missing.missing_keys if k != "lm_head.weight"] or missing.unexpected_keys:
        problem(f"state: {missing}")
    ids = torch.randint(0, config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = model.eval()(ids).logits.float(), by_hand.eval()(ids).logits.float()
    worst = (a - b).abs().max().item()
    print(f"logits: max abs difference {worst:.3g} ({dtype})")
    if not worst <= 1e-5:
        problem(f"logits differ by {worst}")


def reference_tokenizer(reader):
    """The pipeline that llama.cpp's `smollm` means: digits alone, then GPT-2's splitting."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
    unknown = tokens[field(reader, "tokenizer.ggml.unknown_token_id", 0)]
    out = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token=unknown))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    steps = {"smollm": [pre_tokenizers.Digits(individual_digits=True), byte_level], "gpt-2": [byte_level]}
    out.pre_tokenizer = pre_tokenizers.Sequence(steps[field(reader, "tokenizer.ggml.pre")])
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k == 3])
    return out


def check_tokenizer(directory, reader, lancet, model):
    from transformers import AutoTokenizer
    found = AutoTokenizer.from_pretrained(directory)
    expected = reference_tokenizer(reader)
    for text in TEXTS:
        want = expected.encode(text).ids
        ids = found(text)["input_ids"]
        if ids != want:
            problem(f"tokens of {text!r}: {ids[:12]}, expected {want[:12]}")
        if found.decode(ids) != expected.decode(want, skip_special_tokens=False):
            problem(f"text of {text!r}")
    for role in ("bos", "eos", "padding"):
        want = field(reader, f"tokenizer.ggml.{role}_token_id")
        got = getattr(found, f"{'pad' if role == 'padding' else role}_token_id")
        if want != got:
            problem(f"{role} id {got}, expected {want}")
    if found.chat_template != field(reader, "tokenizer.chat_template"):
        problem("chat template differs")
    found.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    if lancet:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
            file.flush()
            lines = subprocess.run([lancet, "tokenize", model, "--file", file.name], capture_output=True, text=True,
                                   check=True).stdout.splitlines()
        for text, line in zip(TEXTS, lines, strict=True):
            if json.loads(line)["ids"] != found(text)["input_ids"]:
                problem(f"lancet tokenises {text!r} otherwise")


def check_gguf(path, reader):
    new = gguf.GGUFReader(path)
    expected = reference_tensors(reader)
    found = {t.name: t for t in new.tensors}
    if found.keys() != expected.keys():
        problem(f"names: {sorted(found.keys() ^ expected.keys())[:8]}")
    for name in found.keys() & expected.keys():
        tensor, kind = found[name], found[name].tensor_type
        want = gguf.quants.quantize(expected[name], kind)
        if len(tensor.shape) == 1 and kind != gguf.GGMLQuantizationType.F32:
            problem(f"{name}: a vector stored as {kind.name}")
        if not np.array_equal(np.asarray(tensor.data).reshape(-1).view(np.uint8), want.reshape(-1).view(np.uint8)):
            problem(f"{name}: {kind.name} values differ")
    arch = field(reader, "general.architecture")
    optional = {"general.name", "general.organization", "general.finetune", "general.basename", "general.size_label",
                "general.license", "general.languages", "general.file_type", "general.quantization_version",
                "GGUF.tensor_count", "GGUF.kv_count"}
    for key, value in reader.fields.items():
        if key in optional:
            continue
        other = new.get_field(key)
        if other is None:
            problem(f"metadata {key} is missing")
        elif other.types != value.types or other.contents() != value.contents():
            problem(f"metadata {key}: {str(other.contents())[:80]}, expected {str(value.contents())[:80]}")
    print(f"{arch}: {len(found)} tensors compared")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("converted")
    parser.add_argument("gguf")
    parser.add_argument("--lancet", help="binary whose `tokenize` must agree")
    args = parser.parse_args()
    reader = gguf.GGUFReader(args.gguf)
    if args.converted.endswith(".gguf"):
        check_gguf(args.converted, reader)
    else:
        expected = hf_tensors(reader)
        check_weights(args.converted, expected)
        check_logits(args.converted, reader, expected)
        check_tokenizer(args.converted, reader, args.lancet, args.gguf)
    print("equal" if not PROBLEMS else f"{len(PROBLEMS)} differences")
    return 1 if PROBLEMS else 0


if __name__ == "__main__":
    sys.exit(main())

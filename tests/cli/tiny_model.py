"""A tiny random Llama checkpoint with a byte-level tokenizer, in plain Python: what black-box tests run on."""
import json
import math
import pathlib
import random
import struct


def write_safetensors(path, tensors):
    """tensors: {name: (shape, [floats])}, all F32, in canonical order."""
    header, offset, data = {"__metadata__": {"format": "pt"}}, 0, []
    for name in sorted(tensors):
        shape, values = tensors[name]
        blob = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        data.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    keep = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, extra = {}, 0
    for byte in range(256):
        if byte in keep:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(0x100 + extra)
            extra += 1
    return table


def tokenizer_json():
    alphabet = byte_alphabet()
    vocab = {"<|end|>": 0}
    for byte in range(256):
        vocab[alphabet[byte]] = len(vocab)
    merges = []
    for word in ["Ġthe", "Ġis", "Ġof", "Paris", "Rome", "Ġcapital", "France"]:
        piece = word[0]
        for character in word[1:]:
            if piece + character not in vocab:
                vocab[piece + character] = len(vocab)
                merges.append([piece, character])
            piece += character
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }


def write_model(folder, layers=2, d_model=32, heads=4, kv_heads=2, d_ff=64, seed=0):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    tokenizer = tokenizer_json()
    vocab = len(tokenizer["model"]["vocab"])
    rng = random.Random(seed)

    def matrix(rows, columns):
        scale = 1 / math.sqrt(columns)
        return [rows, columns], [rng.gauss(0, scale) for _ in range(rows * columns)]

    ones = ([d_model], [1.0] * d_model)
    tensors = {"model.embed_tokens.weight": matrix(vocab, d_model), "model.norm.weight": ones}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        d_kv = d_model // heads * kv_heads
        tensors |= {
            prefix + "self_attn.q_proj.weight": matrix(d_model, d_model),
            prefix + "self_attn.k_proj.weight": matrix(d_kv, d_model),
            prefix + "self_attn.v_proj.weight": matrix(d_kv, d_model),
            prefix + "self_attn.o_proj.weight": matrix(d_model, d_model),
            prefix + "mlp.gate_proj.weight": matrix(d_ff, d_model),
            prefix + "mlp.up_proj.weight": matrix(d_ff, d_model),
            prefix + "mlp.down_proj.weight": matrix(d_model, d_ff),
            prefix + "input_layernorm.weight": ones,
            prefix + "post_attention_layernorm.weight": ones,
        }
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": d_model, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": d_ff, "vocab_size": vocab,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float32"}, indent=2))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>",
        "chat_template": "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
                         "{% if add_generation_prompt %}[assistant]{% endif %}"}))
    return folder


if __name__ == "__main__":
    import sys

    write_model(sys.argv[1])

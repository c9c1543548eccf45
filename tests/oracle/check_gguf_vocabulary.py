#!/usr/bin/env python3
"""A Llama 2 tokenizer written into GGUF: gguf's reader finds the fields that llama.cpp needs, transformers' reader of GGUF
and lancet itself give the ids of the tokenizer.json that it was made of.

    check_gguf_vocabulary.py LANCET
"""
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import gguf
import numpy
import safetensors.numpy
import transformers

import nasty_strings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))
import tiny_model  # noqa: E402


def llama2_model(folder):
    """A tiny model with Llama 2's tokenizer."""
    tiny_model.write_model(folder, layers=1)
    (folder / "tokenizer_config.json").unlink()
    with tarfile.open(HERE.parent / "data/tokenizers/llama2.tar.xz") as archive:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes(archive.extractfile(f"llama2/{name}").read())
    rows = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] = numpy.zeros((rows, 32), numpy.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows, "bos_token_id": 1, "eos_token_id": 2}))
    return folder


def check_fields(path, tokenizer):
    reader = gguf.GGUFReader(path)

    def value(name):
        return reader.fields["tokenizer.ggml." + name].contents()

    vocab = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    scores = dict(zip(vocab, value("scores")))
    made = [left + right for left, right in (m.split(" ") if isinstance(m, str) else m for m in tokenizer["model"]["merges"])]
    checks = {
        "model": value("model") == "llama", "tokens": value("tokens") == vocab, "bos": value("bos_token_id") == 1,
        "eos": value("eos_token_id") == 2, "types": value("token_type")[:4] == [2, 3, 3, 6],
        "byte types": value("token_type")[3:259] == [6] * 256, "add_bos": value("add_bos_token") is True,
        "add_space_prefix": value("add_space_prefix") is True,
        "scores fall in the order of the merges": all(scores[a] >= scores[b] for a, b in zip(made, made[1:])),
    }
    return [name for name, right in checks.items() if not right]


def ids_of(lancet, model, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps({"text": t}) + "\n" for t in texts))
        file.flush()
        done = subprocess.run([lancet, "tokenize", str(model), "--file", file.name], check=True, capture_output=True, text=True)
    return [json.loads(line)["ids"] for line in done.stdout.split("\n") if line]


def main():
    lancet = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = llama2_model(pathlib.Path(name) / "model")
        out = pathlib.Path(name) / "out.gguf"
        subprocess.run([lancet, "convert", str(folder), str(out)], check=True, capture_output=True)
        wrong = check_fields(out, json.loads((folder / "tokenizer.json").read_text()))
        texts = nasty_strings.strings()
        wanted = ids_of(lancet, folder, texts)
        again = ids_of(lancet, out, texts)
        differ = [t for t, a, b in zip(texts, wanted, again) if a != b]
        print(f"lancet: {len(texts)} strings, {len(differ)} differences", *map(repr, differ[:5]), sep="\n  ")
        library = transformers.AutoTokenizer.from_pretrained(name, gguf_file="out.gguf")
        plain = [(t, ids) for t, ids in zip(texts, wanted) if not any(c in t for c in ("<s>", "</s>", "<unk>"))]
        theirs = [library(t, add_special_tokens=False)["input_ids"] for t, _ in plain]
        others = [t for (t, a), b in zip(plain, theirs) if a[1:] != b]
        print(f"transformers: {len(plain)} strings, {len(others)} differences", *map(repr, others[:5]), sep="\n  ")
        print("fields:", wrong or "all right")
    sys.exit(1 if wrong or differ or others else 0)


main()

#!/usr/bin/env python3
"""Compares `lancet tokenize` on `tokenizer.model` files with the sentencepiece library, and on rank files with tiktoken,
live: ids and decoded text on the nasty strings. The models are trained here, one for each trait.

usage: check_sentencepiece.py LANCET      (needs sentencepiece; tiktoken where it is installed)

Texts that contain a control token are left out: SentencePiece reads "<s>" as text, lancet (as transformers) as the token.
"""
import base64
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import sentencepiece
except ImportError:
    print("needs sentencepiece")
    sys.exit(77)

import nasty_strings
from sentencepiece_models import TRAITS, plain_texts, train

def lancet(program, model, lines, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
        file.flush()
        done = subprocess.run([program, "tokenize", str(model), "--file", file.name, *options], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare(name, what, texts, ours, theirs):
    bad = [(t, a, b) for t, a, b in zip(texts, ours, theirs) if a != b]
    for text, a, b in bad[:3]:
        print(f"{name}: {what} of {text!r}: {a[:30]!r}, expected {b[:30]!r}")
    print(f"{name}: {len(texts)} strings, {len(bad)} differences in {what}", flush=True)
    return len(bad)


def check_sentencepiece(program, folder):
    bad = 0
    for name, options in TRAITS.items():
        path = folder / f"{name}.model"
        path.write_bytes(train(**options))
        library = sentencepiece.SentencePieceProcessor(model_file=str(path))
        texts = plain_texts(library, options)
        theirs = [library.encode(t) for t in texts]
        ours = [line["ids"] for line in lancet(program, path, [{"text": t} for t in texts])]
        bad += compare(name, "ids", texts, ours, theirs)
        if name == "suffix":  # HF's decoders have no blank at the end
            continue
        known = [ids for ids in theirs if library.unk_id() not in ids]
        back = [line["text"] for line in lancet(program, path, [{"ids": ids} for ids in known])]
        bad += compare(name, "text", known, back, [library.decode(ids) for ids in known])
    return bad


def check_tiktoken(program, folder):
    try:
        import tiktoken
        from tiktoken._educational import bpe_train
    except ImportError:
        print("no tiktoken: rank files are left out")
        return 0
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
               r"\s+(?!\S)|\s+")
    text = " ".join(nasty_strings.WORDS * 3 + nasty_strings.CODE * 3)
    ranks = bpe_train(data=text, vocab_size=500, pat_str=pattern, visualise=None)
    path = folder / "ranks.tiktoken"
    path.write_text("".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in ranks.items()))
    library = tiktoken.Encoding("test", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    texts = nasty_strings.strings()
    ours = [line["ids"] for line in lancet(program, path, [{"text": t} for t in texts])]
    theirs = [library.encode(t) for t in texts]
    bad = compare("tiktoken", "ids", texts, ours, theirs)
    back = [line["text"] for line in lancet(program, path, [{"ids": ids} for ids in theirs])]
    return bad + compare("tiktoken", "text", theirs, back, [library.decode(ids) for ids in theirs])


def main():
    with tempfile.TemporaryDirectory() as folder:
        bad = check_sentencepiece(sys.argv[1], pathlib.Path(folder)) + check_tiktoken(sys.argv[1], pathlib.Path(folder))
    sys.exit(1 if bad else 0)


main()

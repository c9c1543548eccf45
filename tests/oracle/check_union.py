#!/usr/bin/env python3
"""Unions of vocabularies as the tokenizers library and transformers read them. Usage: check_union.py LANCET

Byte-level BPE, WordPiece and Unigram tokenizers trained on different texts, with added tokens in all, some or none of two and
three models, also declared beside tokenizer.json alone. For every union: each token has one id in tokenizers, in transformers
and in lancet, and its row there is the mean of its rows in the models; texts are cut alike by lancet and the library, and into
tokens that only later models have. Exit 1 with a list of differences.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TEXTS = [["the cat sat on the mat and the dog ate the hat"] * 3, ["where other mothers gather another feather"] * 3,
         ["some numbers come with number theory", "sums of numbers"] * 3]
PROBE = "the other mothers<|y|> come with the cat<|z|> and the numbers <|x|>sat on a feather"
problems = []


def check(good, message):
    if not good:
        problems.append(message)
        print("WRONG", message)


def byte_level(text):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=285, special_tokens=["<unk>"], show_progress=False,
                                                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def word_piece(text):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(text, trainers.WordPieceTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False))
    return tokenizer


def unigram(text):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(text, trainers.UnigramTrainer(vocab_size=40, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    return tokenizer


def declare_beside(folder, bare, added, size):
    """The added tokens in the files of older versions, and tokenizer.json without them."""
    (folder / "tokenizer.json").write_text(bare)
    (folder / "added_tokens.json").write_text(json.dumps({token: size + i for i, token in enumerate(added)}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<unk>", "additional_special_tokens": added}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return AutoTokenizer.from_pretrained(folder)


def write(folder, tokenizer, added, seed, beside):
    bare, size = tokenizer.to_str(), tokenizer.get_vocab_size()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    if added:
        fast.add_tokens(added, special_tokens=True)
    fast.save_pretrained(folder)
    if beside:
        fast = declare_beside(folder, bare, added, size)
    rows = np.random.default_rng(seed).standard_normal((len(fast), 4)).astype(np.float32)
    save_file({"model.embed_tokens.weight": rows, "model.norm.weight": np.ones(4, np.float32)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": len(fast), "tie_word_embeddings": True}))
    return fast.get_vocab(), rows


def check_one(lancet, root, name, kind, added):
    own = []
    for i, tokens in enumerate(added):
        (root / f"{name}{i}").mkdir()
        own.append(write(root / f"{name}{i}", kind(TEXTS[i]), tokens, i, name.endswith("_beside")))
    recipe = {"merge_method": "linear", "parameters": {"weight": 1}, "tokenizer_source": "union",
              "models": [{"model": f"{name}{i}"} for i in range(len(added))]}
    (root / "r.yml").write_text(json.dumps(recipe))
    out = root / f"{name}_out"
    done = subprocess.run([lancet, "merge", root / "r.yml", out, "--quiet"], capture_output=True, text=True)
    check(done.returncode == 0, f"{name}: exit {done.returncode}\n{done.stderr}")
    if done.returncode:
        return
    rows = load_file(out / "model.safetensors")["model.embed_tokens.weight"]
    library, fast = Tokenizer.from_file(str(out / "tokenizer.json")), AutoTokenizer.from_pretrained(out)
    vocab = library.get_vocab()
    check(vocab == fast.get_vocab(), f"{name}: transformers has other ids than tokenizers")
    check(sorted(vocab.values()) == list(range(len(rows))), f"{name}: ids {sorted(vocab.values())[-3:]} for {len(rows)} rows")
    check(set(vocab) == set().union(*(v for v, _ in own)), f"{name}: other tokens than the models'")
    for token, row in vocab.items():
        # The models that lack it borrow the mean of the others.
        expected = np.mean([r[v[token]] for v, r in own if token in v], axis=0)
        check(np.allclose(rows[row], expected, atol=1e-6), f"{name}: row {row} is not that of {token!r}")
    ids = library.encode(PROBE).ids
    said = json.loads(subprocess.run([lancet, "tokenize", out, PROBE, "--json"], capture_output=True, text=True, check=True).stdout)
    check(said["ids"] == ids, f"{name}: {PROBE!r} is {ids} in tokenizers, {said['ids']} in lancet")
    warned = subprocess.run([lancet, "tokenize", out, PROBE], capture_output=True, text=True, check=True).stderr
    check("has the id" not in warned, f"{name}: {warned}")
    later = set(vocab) - set(own[0][0]) - {"<|x|>", "<|y|>", "<|z|>"}
    check(any(library.id_to_token(i) in later for i in ids), f"{name}: no token of the later models in {library.encode(PROBE).tokens}")


def main(lancet):
    cases = {"all": [["<|x|>"], ["<|y|>"]], "first": [["<|x|>", "<|z|>"], []], "none": [[], []], "second": [[], ["<|y|>"]],
             "three": [["<|x|>", "<|y|>"], ["<|z|>"], ["<|x|>"]],
             "beside": [["<|x|>"], ["<|y|>", "<|x|>"]]}
    with tempfile.TemporaryDirectory() as folder:
        for kind in (byte_level, word_piece, unigram):
            for name, added in cases.items():
                check_one(lancet, Path(folder), f"{kind.__name__}_{name}", kind, added)
    print(f"{3 * len(cases)} unions, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

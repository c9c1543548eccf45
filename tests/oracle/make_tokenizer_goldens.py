#!/usr/bin/env python3
"""Writes tests/data/tokenizers/goldens.tar.xz: ids and texts of the `tokenizers` library for nasty strings.

usage: make_tokenizer_goldens.py MODEL.gguf TOKENIZERS_DIR OUT.tar.xz
  MODEL.gguf      SmolLM2-135M-Instruct (its metadata become the tokenizer.json that was published)
  TOKENIZERS_DIR  has llama2.tar.xz, llama3.tar.xz and qwen3.tar.xz

In the archive, for each tokenizer NAME:
  NAME.jsonl       one line per string: {"t": text, "i": ids with special tokens, "d": decoded, "s": decoded without
                   special tokens}; d and s are left out where they equal t and d. Long strings have {"r": [unit,
                   times], "n": count, "h": hash} instead.
  NAME.ids.jsonl   random id lists: {"i": ids, "d": decoded, "s": decoded without special tokens}
  NAME.json        tokenizer.json of the synthetic ones (smollm2, llama3, qwen3 and llama2 come from elsewhere)
In sentencepiece/: NAME.model and NAME.jsonl of {"t": text, "i": ids that the sentencepiece library gives}.
"""
import io
import json
import random
import sys
import tarfile

import sentencepiece
from tokenizers import Tokenizer

import nasty_strings
from sentencepiece_models import TRAITS, plain_texts, train
from synthetic_tokenizers import synthetic

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def smollm2(path):
    """tokenizer.json as HuggingFaceTB published it, from the GGUF metadata."""
    import gguf

    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, types = get("tokens"), get("token_type")
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, t in enumerate(tokens) if types[i] == 3]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence",
                              "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
            "post_processor": None, "decoder": BYTE_LEVEL,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {t: i for i, t in enumerate(tokens)},
                      "merges": [m.split(" ") for m in get("merges")]}}


def hash_ids(ids):
    value = 0xCBF29CE484222325
    for i in ids:
        value = ((value ^ i) * 0x100000001B3) & (2**64 - 1)
    return f"{value:016x}"


def lines_for(tokenizer, texts):
    for text in texts:
        ids = tokenizer.encode(text).ids
        line = {"t": text, "i": ids}
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        skipped = tokenizer.decode(ids, skip_special_tokens=True)
        if decoded != text:
            line["d"] = decoded
        if skipped != decoded:
            line["s"] = skipped
        yield line


def long_lines(tokenizer):
    for unit, times in (("a", 100_000), (" ", 50_000), ("é中", 20_000), ("\n", 20_000), ("=", 30_000),
                        ("qzxjkvbpyg", 10_000), ("abcdefghijklmnopqrstuvwxyz0123", 4_000)):
        ids = tokenizer.encode(unit * times).ids
        yield {"r": [unit, times], "n": len(ids), "h": hash_ids(ids)}


def id_lines(tokenizer, count, seed):
    rng = random.Random(seed)
    top = tokenizer.get_vocab_size()
    for _ in range(count):
        ids = [rng.randrange(top + 2) for _ in range(rng.randint(0, 12))]
        yield {"i": ids, "d": tokenizer.decode(ids, skip_special_tokens=False),
               "s": tokenizer.decode(ids, skip_special_tokens=True)}


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path, "w:xz", preset=9)

    def add(self, name, text):
        raw = text if isinstance(text, bytes) else text.encode()
        entry = tarfile.TarInfo(name)
        entry.size = len(raw)
        self.tar.addfile(entry, io.BytesIO(raw))

    def add_lines(self, name, lines):
        self.add(name, "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))


def add_sentencepiece(archive):
    for name in ("llama2_like", "gemma_like", "unigram_nfkc", "unigram_cf_bytes"):
        model = train(**TRAITS[name])
        library = sentencepiece.SentencePieceProcessor(model_proto=model)
        texts = random.Random(5).sample(plain_texts(library, TRAITS[name]), 300)
        archive.add(f"sentencepiece/{name}.model", model)
        archive.add_lines(f"sentencepiece/{name}.jsonl", ({"t": t, "i": library.encode(t)} for t in texts))


def main():
    model, folder, out = sys.argv[1:]
    archive = Archive(out)
    real = {"smollm2": json.dumps(smollm2(model))}
    for name in ("llama2", "llama3", "qwen3"):
        with tarfile.open(f"{folder}/{name}.tar.xz") as tar:
            real[name] = tar.extractfile(f"{name}/tokenizer.json").read().decode()
    for name, text in real.items():
        tokenizer = Tokenizer.from_str(text)
        added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
        texts = nasty_strings.strings(added)
        archive.add_lines(f"{name}.jsonl", list(lines_for(tokenizer, texts)) + list(long_lines(tokenizer)))
        archive.add_lines(f"{name}.ids.jsonl", id_lines(tokenizer, 400, 3))
        print(name, len(texts))
    for index, (name, description) in enumerate(synthetic().items()):
        text = json.dumps(description, ensure_ascii=False)
        tokenizer = Tokenizer.from_str(text)
        added = [t.content for t in tokenizer.get_added_tokens_decoder().values() if not t.content.startswith("<0x")]
        every = nasty_strings.strings(added, seed=100 + index)
        texts = random.Random(index).sample(every, 260)
        if added:
            pool = added + nasty_strings.SPACES + nasty_strings.WORDS + ["a", "word", "Words", "NORM", "norm", "\u00e9"]
            rng = random.Random(index)
            texts += ["".join(rng.choice(pool) for _ in range(rng.randint(1, 9))) for _ in range(150)]
        archive.add(f"synthetic/{name}.json", text)
        archive.add_lines(f"synthetic/{name}.jsonl", lines_for(tokenizer, texts))
        archive.add_lines(f"synthetic/{name}.ids.jsonl", id_lines(tokenizer, 60, index))
        print(name, len(texts))
    add_sentencepiece(archive)
    archive.tar.close()


main()

#!/usr/bin/env python3
"""Writes tests/data/tokenizers/goldens.tar.xz: ids and texts of the `tokenizers` library for nasty strings.

usage: make_tokenizer_goldens.py MODEL.gguf TOKENIZERS_DIR OUT.tar.xz
  MODEL.gguf      SmolLM2-135M-Instruct (its metadata become the tokenizer.json that was published)
  TOKENIZERS_DIR  has llama3.tar.xz and qwen3.tar.xz

In the archive, for each tokenizer NAME:
  NAME.jsonl       one line per string: {"t": text, "i": ids with special tokens, "d": decoded, "s": decoded without
                   special tokens}; d and s are left out where they equal t and d. Long strings have {"r": [unit,
                   times], "n": count, "h": hash} instead.
  NAME.ids.jsonl   random id lists: {"i": ids, "d": decoded, "s": decoded without special tokens}
  NAME.json        tokenizer.json of the synthetic ones (smollm2, llama3 and qwen3 come from elsewhere)
"""
import io
import json
import random
import sys
import tarfile

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

import nasty_strings

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


def train(pre=None, norm=None, dec=None, post=None, added=(), size=500, alphabet=(), special=(), edit=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if norm:
        tokenizer.normalizer = norm
    if pre:
        tokenizer.pre_tokenizer = pre
    affixes = {k: v for k, v in model.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=list(alphabet), limit_alphabet=256 if alphabet else 120, **affixes)
    tokenizer.train_from_iterator(nasty_strings.WORDS * 3 + nasty_strings.CODE * 3 + nasty_strings.strings(seed=1)[:900],
                                  trainer)
    if dec:
        tokenizer.decoder = dec
    if post:
        tokenizer.post_processor = post
    tokenizer.add_tokens(list(added))
    description = json.loads(tokenizer.to_str())
    if edit:
        edit(description)
    return description


def legacy_merges(description):
    description["model"]["merges"] = [f"{a} {b}" for a, b in description["model"]["merges"]]


def synthetic():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    level = pre_tokenizers.ByteLevel
    sequence = pre_tokenizers.Sequence
    fallback = [f"<0x{b:02X}>" for b in range(256)]
    spm_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    flags = [AddedToken("@@", lstrip=True), AddedToken("##", rstrip=True), AddedToken("[both]", lstrip=True, rstrip=True),
             AddedToken("word", single_word=True), AddedToken("Norm", normalized=True),
             AddedToken("NormÉ", normalized=True, single_word=True), AddedToken("<s>", special=True),
             AddedToken("</s>", special=True), AddedToken("</s><s>", special=True), AddedToken("  ", normalized=False),
             AddedToken("東", normalized=False)]
    out = {"prefix_space": train(level(add_prefix_space=True), dec=decoders.ByteLevel(), alphabet=alphabet,
                                 special=["<s>", "</s>"],
                                 post=processors.RobertaProcessing(("</s>", 1), ("<s>", 0))),
           "materialized": train(sequence([level(add_prefix_space=False), pre_tokenizers.Digits(False)]),
                                 dec=decoders.ByteLevel(), alphabet=alphabet, edit=legacy_merges),
           "byte_normalizer": train(norm=normalizers.ByteLevel(), dec=decoders.ByteLevel(), alphabet=alphabet),
           "missing_bytes": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), unk_token="<unk>",
                                  special=["<unk>"]),
           "missing_bytes_fused": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), unk_token="<unk>",
                                        fuse_unk=True, special=["<unk>"]),
           "added": train(level(add_prefix_space=False), norm=normalizers.Sequence([normalizers.NFC(),
                          normalizers.Lowercase()]), dec=decoders.ByteLevel(), alphabet=alphabet, added=flags),
           "added_plain": train(pre_tokenizers.WhitespaceSplit(), added=flags, unk_token="?", special=["?"]),
           "template": train(level(add_prefix_space=False), dec=decoders.ByteLevel(), alphabet=alphabet,
                             special=["<s>", "</s>", "<x>"],
                             post=processors.Sequence([processors.ByteLevel(trim_offsets=True),
                                                       processors.TemplateProcessing(
                                                           "<s> $A </s> <x>", "<s> $A </s> $B",
                                                           [("<s>", 0), ("</s>", 1), ("<x>", 2)])])),
           "spm_old": train(norm=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
                            dec=spm_decoder, unk_token="<unk>", fuse_unk=True, byte_fallback=True,
                            special=["<unk>"] + fallback, size=800),
           "spm_partial": train(pre_tokenizers.Metaspace("▁", "first", True), dec=decoders.Metaspace("▁", "first", True),
                                unk_token="<unk>", byte_fallback=True, special=["<unk>"] + fallback[:0xC8], size=700),
           "metaspace_always": train(pre_tokenizers.Metaspace("▁", "always", False),
                                     dec=decoders.Metaspace("▁", "always", False), unk_token="<unk>", special=["<unk>"],
                                     added=[AddedToken("<s>", special=True)]),
           "metaspace_never": train(pre_tokenizers.Metaspace("_", "never", True),
                                    dec=decoders.Metaspace("_", "never", True)),
           "metaspace_first": train(pre_tokenizers.Metaspace("▁", "first", False), dec=spm_decoder, fuse_unk=True,
                                    unk_token="<unk>", special=["<unk>"], added=[AddedToken("<s>", special=True)]),
           "subword_prefix": train(pre_tokenizers.Whitespace(), norm=normalizers.NFKC(), unk_token="<unk>",
                                   special=["<unk>"], continuing_subword_prefix="##"),
           "word_suffix": train(sequence([pre_tokenizers.WhitespaceSplit(), level(False, use_regex=False)]),
                                dec=decoders.BPEDecoder("</w>"), end_of_word_suffix="</w>", alphabet=alphabet),
           "nfd": train(level(add_prefix_space=False), norm=normalizers.NFD(), dec=decoders.ByteLevel(), alphabet=alphabet),
           "nfkd": train(level(add_prefix_space=False), norm=normalizers.NFKD(), dec=decoders.ByteLevel(),
                         alphabet=alphabet),
           "nfkc_strip": train(level(add_prefix_space=False), alphabet=alphabet, dec=decoders.ByteLevel(),
                               norm=normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(),
                                                          normalizers.Replace(Regex(r"\s{2,}|\p{Nd}+"), "_")])),
           "no_decoder": train(pre_tokenizers.WhitespaceSplit())}
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            split = pre_tokenizers.Split(Regex(r"\s|\d+|(?<=a)b|[^\w\s]"), behavior, invert)
            out[f"split_{behavior}{'_inverted' if invert else ''}"] = train(
                sequence([split, level(False, use_regex=False)]), dec=decoders.ByteLevel(), alphabet=alphabet, size=400)
    out["split_string"] = train(sequence([pre_tokenizers.Split(".", "removed"), pre_tokenizers.Split("  ", "isolated"),
                                          pre_tokenizers.Split("the", "merged_with_next"), level(False)]),
                                dec=decoders.ByteLevel(), alphabet=alphabet)
    out["split_empty"] = train(sequence([pre_tokenizers.Split(Regex("x*|(?=a)"), "contiguous"), level(False)]),
                               dec=decoders.ByteLevel(), alphabet=alphabet)
    tekken = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
              r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
              r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    out["tekken"] = train(sequence([pre_tokenizers.Split(Regex(tekken), "isolated"), level(False, use_regex=False)]),
                          dec=decoders.ByteLevel(), alphabet=alphabet, ignore_merges=True, size=900)
    out["words"] = train(sequence([pre_tokenizers.Split(Regex(r"\w+|\W|\h+"), "removed", True), level(False)]),
                         dec=decoders.ByteLevel(), alphabet=alphabet)
    return out


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
        raw = text.encode()
        entry = tarfile.TarInfo(name)
        entry.size = len(raw)
        self.tar.addfile(entry, io.BytesIO(raw))

    def add_lines(self, name, lines):
        self.add(name, "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))


def main():
    model, folder, out = sys.argv[1:]
    archive = Archive(out)
    real = {"smollm2": json.dumps(smollm2(model))}
    for name in ("llama3", "qwen3"):
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
    archive.tar.close()


main()

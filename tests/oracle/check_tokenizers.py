#!/usr/bin/env python3
"""Compares `lancet tokenize` with the `tokenizers` library, live: ids, offsets, and decoding, on the nasty strings.

usage: check_tokenizers.py LANCET FOLDER...     (each FOLDER has a tokenizer.json; or --synthetic COUNT for all pieces)

Offsets: ours are bytes of the input, theirs are characters (trimming switched off). A byte inside a character widens to
the whole character. They are compared where the normalizer keeps the characters apart (it may put U+2581 in front): where
it joins, adds or removes some, theirs cover the first of them only. A byte token of Unigram covers all of an unknown run
in the library, its own byte here; a prefix that is a token of its own covers nothing here, in the library the next
character. A byte-level vocabulary with holes (SmolLM2 lacks some control bytes) drops those bytes; the library then counts
a dropped byte to the token after it: offsets of texts that lost something are left out, their ids are not.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer

import nasty_strings

def lancet(program, folder, lines, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
        file.flush()
        done = subprocess.run([program, "tokenize", str(folder), "--file", file.name, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def without_trimming(node):
    if isinstance(node, dict):
        return {k: False if k == "trim_offsets" else without_trimming(v) for k, v in node.items()}
    return [without_trimming(v) for v in node] if isinstance(node, list) else node


def characters(text, offsets):
    """Byte ranges as the ranges of the characters that they touch."""
    owner, total = [], 0
    for index, char in enumerate(text):
        owner += [index] * len(char.encode())
        total = index + 1
    owner.append(total)
    return [(owner[a], owner[b - 1] + 1 if b > a else owner[b]) for a, b in offsets]


def keeps_characters(normalizer, text):
    """Does normalization change no character into none or several?"""
    if normalizer is None:
        return True
    normal = normalizer.normalize_str(text)
    if normal != text and any(unicodedata.combining(c) or "\u1100" <= c <= "\u11ff" for c in text):
        return False
    for prefix in ("", "\u2581"):
        rest = normal[len(prefix):]
        if normal.startswith(prefix) and len(rest) == len(text):
            if all(a == b or a.lower() == b or (a == " " and b == "\u2581") for a, b in zip(text, rest)):
                return True
    return False


def same_offsets(ours, expected):
    for (a, b), (c, d), token, mask in zip(ours, expected.offsets, expected.tokens, expected.special_tokens_mask):
        inside = token.startswith("<0x") and c <= a and b <= d
        if not (mask or (a, b) == (c, d) or inside or a == b == c):
            return False
    return True


def byte_symbols():
    """The 256 characters that byte-level vocabularies spell bytes with."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def report(name, what, example, differences):
    differences.append(what)
    if sum(1 for d in differences if d == what) <= 3:
        print(f"{name}: {what}: {example}")


def check(program, folder, count, seed=1):
    text = (folder / "tokenizer.json").read_text()
    theirs = Tokenizer.from_str(text)
    theirs.no_truncation()
    theirs.no_padding()
    plain = json.loads(text)
    drops = not plain["model"].get("unk_token") and "\u0120" not in plain["model"]["vocab"]  # theirs then forget what was dropped
    fallback = plain["model"].get("byte_fallback") and "<0xFF>" not in json.dumps(plain["model"]["vocab"])
    drops = drops or fallback  # or what came late: unknown characters after the bytes of later ones
    vocab = plain["model"]["vocab"]
    holes = "\u0120" in vocab and any(symbol not in vocab for symbol in byte_symbols())
    plain["post_processor"] = without_trimming(plain.get("post_processor"))
    untrimmed = Tokenizer.from_str(json.dumps(plain))
    untrimmed.no_truncation()
    untrimmed.no_padding()
    added = [t.content for t in theirs.get_added_tokens_decoder().values() if not t.content.startswith("<0x")]
    rng = random.Random(seed)
    texts = nasty_strings.strings(added, seed=seed)
    if added:
        pool = added + nasty_strings.SPACES + nasty_strings.WORDS + ["a", "word", "Words", "NORM", "norm", "\u00e9"]
        texts += ["".join(rng.choice(pool) for _ in range(rng.randint(1, 9))) for _ in range(300)]
    if count:
        texts = rng.sample(texts, min(count, len(texts)))
    differences = []
    answers = lancet(program, folder, [{"text": t} for t in texts], "--offsets")
    decoded = []
    for text, ours in zip(texts, answers):
        try:
            expected = untrimmed.encode(text)
        except Exception as error:
            report(folder.name, "library error", (text, str(error)), differences)
            continue
        if ours["ids"] != expected.ids:
            report(folder.name, "ids", (text, ours["ids"][:30], expected.ids[:30]), differences)
        elif holes and untrimmed.decode(expected.ids, skip_special_tokens=False) != text:
            pass
        elif not drops and keeps_characters(theirs.normalizer, text) and not same_offsets(characters(text, ours["offsets"]), expected):
            report(folder.name, "offsets", (text, expected.tokens[:12], characters(text, ours["offsets"])[:12],
                                            expected.offsets[:12]), differences)
        decoded.append(expected.ids)
    top = theirs.get_vocab_size()
    decoded += [[rng.randrange(top) for _ in range(rng.randint(0, 12))] for _ in range(len(texts) // 3)]
    for options, skip in (((), False), (("--no-special",), True)):
        answers = lancet(program, folder, [{"ids": ids} for ids in decoded], *options)
        for ids, ours in zip(decoded, answers):
            expected = theirs.decode(ids, skip_special_tokens=skip)
            if ours["text"] != expected:
                report(folder.name, "text", (ids[:20], ours["text"][:80], expected[:80]), differences)
    print(f"{folder.name}: {len(texts)} strings, {len(decoded)} id lists, {len(differences)} differences", flush=True)
    return len(differences)


def main():
    program, *folders = sys.argv[1:]
    count = 0
    if folders[0] == "--synthetic":
        try:
            import sentencepiece  # noqa: F401
        except ImportError:
            print("needs sentencepiece")
            sys.exit(77)
        from synthetic_tokenizers import synthetic
        count = int(folders[1])
        home = tempfile.TemporaryDirectory()
        folders = []
        for name, description in synthetic().items():
            folder = pathlib.Path(home.name) / name
            folder.mkdir()
            (folder / "tokenizer.json").write_text(json.dumps(description))
            folders.append(folder)
    bad = 0
    for seed, folder in enumerate(folders):
        try:
            bad += check(program, pathlib.Path(folder), count, seed)
        except RuntimeError as error:
            print(f"{folder}: {error}")
            bad += 1
    sys.exit(1 if bad else 0)


main()

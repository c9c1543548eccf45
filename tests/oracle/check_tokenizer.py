#!/usr/bin/env python3
"""`lancet tokenize` against the tokenizers library on one model directory: ids and decoded text of nasty strings.

    check_tokenizer.py LANCET MODEL_DIR
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

import nasty_strings


def answers(lancet, folder, lines, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        out = subprocess.run([lancet, "tokenize", folder, "--file", file.name, "--json", *options], check=True,
                             capture_output=True)
    return [json.loads(line) for line in out.stdout.decode("utf-8").splitlines()]


def main():
    lancet, folder = sys.argv[1:]
    reference = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    added = [token.content for token in reference.get_added_tokens_decoder().values()]
    texts = [text for text in nasty_strings.strings(added) if not any("\ud800" <= c <= "\udfff" for c in text)]
    if len(texts) < 2000:
        sys.exit(f"only {len(texts)} strings: the check itself is broken")
    wrong = 0
    mine = answers(lancet, folder, [{"text": text} for text in texts])
    theirs = [encoding.ids for encoding in reference.encode_batch(texts)]
    if len(mine) != len(texts):
        sys.exit(f"{len(mine)} answers to {len(texts)} lines")
    for text, found, expected in zip(texts, mine, theirs):
        if found["ids"] != expected:
            wrong += 1
            print(f"ids of {text!r}: {found['ids'][:12]}, expected {expected[:12]}")
    back = answers(lancet, folder, [{"ids": ids} for ids in theirs])
    for ids, found, expected in zip(theirs, back, reference.decode_batch(theirs, skip_special_tokens=False)):
        if found["text"] != expected:
            wrong += 1
            print(f"text of {ids[:12]}: {found['text']!r}, expected {expected!r}")
    print(f"{len(texts)} strings, {wrong} differences")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

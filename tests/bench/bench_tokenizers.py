#!/usr/bin/env python3
"""Tokenizing beside the `tokenizers` library in one run, by processor time: encoding long text and lines on one thread,
batches over threads, decoding, loading.

    bench_tokenizers.py BENCH FOLDER... [--mb 4] [--rounds 3]      BENCH: the program bench_tokenizers; FOLDER has tokenizer.json

Texts: prose (share/texts), code (this tree), many scripts (nasty strings without controls). Prints a Markdown table.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "oracle"))
import nasty_strings  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]


def texts(megabytes):
    prose = (ROOT / "share/texts/covariance.txt").read_text() + (ROOT / "share/texts/perplexity.txt").read_text()
    code = "\n".join(p.read_text() for p in sorted(ROOT.glob("formats/**/*.cpp")) + sorted(ROOT.glob("tests/**/*.py")))
    scripts = "\n".join(" ".join(nasty_strings.WORDS[i:] + nasty_strings.WORDS[:i]) for i in range(len(nasty_strings.WORDS)))
    scripts += "\n" + "\n".join(s for s in nasty_strings.strings() if s.isprintable() and len(s) > 20)
    size = int(megabytes * 1e6)
    return {name: (text * (size // len(text.encode()) + 1)).encode()[:size].decode("utf-8", "ignore")
            for name, text in (("prose", prose), ("code", code), ("scripts", scripts))}


def best(rounds, call):
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def library(folder, text, lines, rounds):
    from tokenizers import Tokenizer
    path = str(folder / "tokenizer.json")
    out = {"load": best(rounds, lambda: Tokenizer.from_file(path))}
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    ids = tokenizer.encode(text).ids
    size = len(text.encode())
    out["tokens"] = len(ids)
    out["encode"] = size / best(rounds, lambda: tokenizer.encode(text)) / 1e6
    out["lines"] = size / best(rounds, lambda: tokenizer.encode_batch_fast(lines)) / 1e6
    out["decode"] = size / best(rounds, lambda: tokenizer.decode(ids, skip_special_tokens=False)) / 1e6
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--mb", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread
    print("| tokenizer, text | encode MB/s | library | ratio | lines MB/s | library | ratio | decode MB/s | library | ratio | load ms | library |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for folder in args.folders:
        for name, text in texts(args.mb).items():
            lines = text.split("\n")
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
                file.write(text)
                file.flush()
                ours = json.loads(subprocess.run([args.bench, str(folder), file.name, str(args.rounds)], check=True,
                                                 capture_output=True, text=True).stdout)
            theirs = library(folder, text, lines, args.rounds)
            if ours["tokens"] != theirs["tokens"]:
                sys.exit(f"{folder.name}, {name}: {ours['tokens']} tokens, the library {theirs['tokens']}")
            cells = [f"{folder.name}, {name}"]
            for key in ("encode", "lines", "decode"):
                cells += [f"{ours[key]:.1f}", f"{theirs[key]:.2f}", f"{ours[key] / theirs[key]:.1f}"]
            cells += [f"{ours['load'] * 1e3:.0f}", f"{theirs['load'] * 1e3:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


main()

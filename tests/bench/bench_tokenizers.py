#!/usr/bin/env python3
"""Tokenizing beside the `tokenizers` library in one run, by processor time: encoding long text and short lines on one
thread, decoding, loading; by the clock: batches of lines over one and two threads.

    bench_tokenizers.py BENCH FOLDER... [--mb 4] [--rounds 3]      BENCH: the program bench_tokenizers; FOLDER has tokenizer.json

Texts: prose (share/texts), code (this tree), many scripts (nasty strings without controls). Prints two Markdown tables.
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


BATCH = """
import sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation()
lines = open(sys.argv[2], newline="").read().split("\\n")
best = 1e9
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    tokenizer.encode_batch_fast(lines)
    best = min(best, time.perf_counter() - start)
print(best)
"""


def library_batch(folder, path, size, rounds, threads):
    """MB/s by the clock; the library fixes its threads when it starts."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-c", BATCH, str(folder / "tokenizer.json"), path, str(rounds)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return size / float(done.stdout) / 1e6


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
    batches = []
    for folder in args.folders:
        for name, text in texts(args.mb).items():
            lines = text.split("\n")
            with tempfile.NamedTemporaryFile("w", suffix=".txt", newline="") as file:
                file.write(text)
                file.flush()
                ours = json.loads(subprocess.run([args.bench, str(folder), file.name, str(args.rounds)], check=True,
                                                 capture_output=True, text=True).stdout)
                batches.append((f"{folder.name}, {name}", ours, [
                    library_batch(folder, file.name, len(text.encode()), args.rounds, threads) for threads in (1, 2)]))
            theirs = library(folder, text, lines, args.rounds)
            if ours["tokens"] != theirs["tokens"]:
                sys.exit(f"{folder.name}, {name}: {ours['tokens']} tokens, the library {theirs['tokens']}")
            cells = [f"{folder.name}, {name}"]
            for key in ("encode", "lines", "decode"):
                cells += [f"{ours[key]:.1f}", f"{theirs[key]:.2f}", f"{ours[key] / theirs[key]:.1f}"]
            cells += [f"{ours['load'] * 1e3:.0f}", f"{theirs['load'] * 1e3:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)
    print("\n| batch of lines, by the clock | 1 thread MB/s | library | ratio | 2 threads MB/s | library | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, ours, theirs in batches:
        cells = [name]
        for mine, other in zip((ours["batch1"], ours["batch2"]), theirs):
            cells += [f"{mine:.1f}", f"{other:.2f}", f"{mine / other:.1f}"]
        print("| " + " | ".join(cells) + " |")


main()

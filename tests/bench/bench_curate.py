#!/usr/bin/env python3
"""Curation beside datasketch, by processor time on one thread each.

    .venv-datasketch/bin/python tests/bench/bench_curate.py build/tests/bench/bench_curate
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from datasketch import MinHash

ROWS, PYTHON_ROWS = 8000, 300


def make_rows():
    rng = random.Random(1)
    vocabulary = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9))) for _ in range(20000)]
    for _ in range(ROWS):
        words = [rng.choice(vocabulary) for _ in range(rng.randint(50, 400))]
        half = len(words) // 4
        yield {"prompt": " ".join(words[:half]), "completion": " ".join(words[half:])}


def datasketch_seconds(rows, batch):
    start = time.process_time()
    for row in rows:
        text = row["prompt"] + "\n" + row["completion"]
        sketch = MinHash(num_perm=128, seed=1)
        shingles = [text[i:i + 5].encode() for i in range(max(1, len(text) - 4))]
        if batch:
            sketch.update_batch(shingles)
        else:
            for shingle in shingles:
                sketch.update(shingle)
    return time.process_time() - start


with tempfile.TemporaryDirectory() as folder:
    rows = list(make_rows())
    path = pathlib.Path(folder) / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours = subprocess.run([sys.argv[1], str(path)], capture_output=True, text=True, check=True).stdout
    print(ours, end="")
    rate = float(next(line for line in ours.splitlines() if line.startswith("minhash")).split()[-2])
    some = rows[:PYTHON_ROWS]
    megabytes = sum(len(json.dumps(row)) + 1 for row in some) / 1e6
    for name, batch in (("update_batch", True), ("update", False)):
        theirs = megabytes / datasketch_seconds(some if batch else some[:60], batch) * (1 if batch else 60 / PYTHON_ROWS)
        print(f"datasketch {name} {theirs:.3f} MB/s: lancet {rate / theirs:.1f} times as fast")

#!/usr/bin/env python3
"""Signatures and band choices of datasketch 1.6.5, for tests/distill/filters/minhash_test.cpp.

Needs the environment .venv-datasketch (scripts/setup.sh --tests). Usage: make_minhash_goldens.py > tests/data/distill/minhash.json
"""
import json

from datasketch import MinHash
from datasketch.lsh import _optimal_param

TEXTS = ["", "a", "the quick brown fox jumps over the lazy dog", "Fünf größere Boxkämpfer jagen Viktor", "机器学习模型的合并与编辑",
         "x" * 300, " ".join(f"word{i} of a longer text" for i in range(90))]


def shingles(text, size):
    return [text[i:i + size] for i in range(max(1, len(text) - size + 1))] if text else []


cases = []
for text in TEXTS:
    for size, permutations, seed in ((5, 128, 1), (1, 16, 7), (70, 64, 4294967295), (130, 33, 0)):
        sketch = MinHash(num_perm=permutations, seed=seed)
        sketch.update_batch([s.encode() for s in shingles(text, size)]) if text else None
        cases.append({"text": text, "size": size, "seed": seed, "values": [int(v) for v in sketch.hashvalues]})
bands = [{"threshold": t, "permutations": p, "bands": b, "rows": r}
         for t in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95) for p in (16, 64, 128, 256) for b, r in [_optimal_param(t, p, 0.5, 0.5)]]
print(json.dumps({"signatures": cases, "bands": bands}))

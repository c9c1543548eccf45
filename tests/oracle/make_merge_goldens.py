#!/usr/bin/env python3
"""Writes tests/data/merge/goldens.npz: what mergekit 0.1.5 makes of tests/oracle/merge_cases.py. Runs mergekit in this
process, so call it with a Python that has mergekit==0.1.5, torch, numpy and safetensors. Usage: make_merge_goldens.py [CASE...]"""
import pathlib
import sys
import tempfile

import numpy as np
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from safetensors.numpy import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import merge_cases  # noqa: E402

target = pathlib.Path(__file__).resolve().parent.parent / "data" / "merge" / "goldens.npz"
wanted = sys.argv[1:]
goldens = {}
with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    merge_cases.write_models(root)
    for name, recipe in merge_cases.cases().items():
        if wanted and name not in wanted:
            continue
        text = yaml.safe_dump(recipe)
        for model in ("base", "a", "b", "c"):
            text = text.replace(f"model: {model}\n", f"model: {root / model}\n")
        try:
            run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(root / f"out_{name}"),
                      MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=1))
            values = load_file(root / f"out_{name}" / "model.safetensors")
        except Exception as error:  # a case that mergekit refuses is said, not hidden
            print(f"{name}: mergekit refuses: {error}")
            continue
        for tensor, value in values.items():
            goldens[f"{name}/{tensor}"] = value
        print(f"{name}: {len(values)} tensors")
target.parent.mkdir(parents=True, exist_ok=True)
np.savez_compressed(target, **goldens)
print(f"{target}: {target.stat().st_size} bytes")

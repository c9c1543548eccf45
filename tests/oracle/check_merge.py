#!/usr/bin/env python3
"""lancet's merges against the stored results of mergekit 0.1.5 (float32). Usage: check_merge.py LANCET

Every element within 5e-7 or 4 units in the last place. Exceptions, each with its reason:
- arcee_fusion selects by sums that cancel: elements whose importance lies at the threshold may differ.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import merge_cases  # noqa: E402

MAY_DIFFER = {"arcee_fusion": 0.03}   # share of elements


def main(lancet):
    goldens = np.load(pathlib.Path(__file__).resolve().parent.parent / "data" / "merge" / "goldens.npz")
    names = {key.split("/")[0] for key in goldens}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        merge_cases.write_models(root)
        for name, recipe in merge_cases.cases().items():
            if name not in names:
                print(f"skip {name}: no golden")
                continue
            (root / f"{name}.yml").write_text(json.dumps(recipe))
            out = root / f"out_{name}.safetensors"
            done = subprocess.run([lancet, "merge", root / f"{name}.yml", out, "--semantics", "mergekit", "--quiet"],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                print(f"FAIL {name}: exit {done.returncode}\n{done.stderr}")
                failures += 1
                continue
            values = load_file(out)
            expected = {key.split("/", 1)[1]: goldens[key] for key in goldens if key.split("/")[0] == name}
            worst, wrong, total = 0.0, 0, 0
            for tensor in sorted(set(values) | set(expected)):
                if tensor not in values or tensor not in expected:
                    print(f"FAIL {name}: {tensor} only in {'lancet' if tensor in values else 'mergekit'}")
                    failures += 1
                    continue
                ours, theirs = values[tensor].astype(np.float64), expected[tensor].astype(np.float64)
                allowed = np.maximum(5e-7, 4 * np.spacing(np.abs(expected[tensor])).astype(np.float64))
                worst = max(worst, float(np.abs(ours - theirs).max()))
                wrong += int((np.abs(ours - theirs) > allowed).sum())
                total += ours.size
            bad = wrong > MAY_DIFFER.get(name, 0) * total
            failures += bad
            print(f"{'FAIL' if bad else 'ok  '} {name}: largest difference {worst:.2e}, {wrong} of {total} elements beyond tolerance")
    print(f"{len(names)} goldens, {failures} failures")
    return 1 if failures or not names else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))

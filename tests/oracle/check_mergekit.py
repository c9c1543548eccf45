#!/usr/bin/env python3
"""mergekit 0.1.5 live. Usage: check_mergekit.py LANCET VENV   (exit 77 where VENV has no mergekit)

1. float32 models: what mergekit makes today is what tests/data/merge/goldens.npz holds.
2. bfloat16 models: lancet's result lies nearer to the exact one than mergekit's, method by method (the table of
   docs/merging.md). Exact: the same recipe on the same bfloat16 inputs computed and written in float64 by lancet. Elements
   that mergekit, also in float64, selects otherwise (equal magnitudes at a threshold) are left out.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import merge_cases  # noqa: E402

MAY_DIFFER = {"arcee_fusion": 0.03}   # selects by sums that cancel


def rounded(value):
    """float64 to bfloat16 in one rounding: torch goes by float32, which rounds twice."""
    wide = value.numpy()
    narrow = wide.astype(np.float32)
    narrow = np.where(np.abs(narrow) > np.abs(wide), np.nextafter(narrow, np.float32(0)), narrow)
    bits = narrow.view(np.uint32) | (narrow != wide)   # the last bit remembers what was cut off
    return torch.from_numpy(bits.view(np.float32)).to(torch.bfloat16)


def run_mergekit(venv, root, names):
    done = subprocess.run([venv / "bin" / "python", pathlib.Path(__file__).parent / "run_mergekit.py", root, *names],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"mergekit failed:\n{done.stderr[-2000:]}")
    print(done.stdout, end="")
    return {name: load_file(root / f"mergekit_{name}" / "model.safetensors")
            for name in names if (root / f"mergekit_{name}").exists()}


def run_lancet(lancet, root, name, *options):
    out = root / f"lancet_{name}.safetensors"
    subprocess.run([lancet, "merge", root / f"{name}.yml", out, "--semantics", "mergekit", "--quiet", "--force", *options], check=True,
                   capture_output=True)
    return load_file(out)


def write_recipes(root, recipes, dtype):
    for name, recipe in recipes.items():
        (root / f"{name}.yml").write_text(json.dumps(recipe | {"dtype": dtype}))


def check_goldens(venv, root):
    goldens = np.load(pathlib.Path(__file__).resolve().parent.parent / "data" / "merge" / "goldens.npz")
    names = sorted({key.split("/")[0] for key in goldens})
    write_recipes(root, {name: merge_cases.cases()[name] for name in names}, "float32")
    live = run_mergekit(venv, root, names)
    failures = 0
    for name in names:
        differences = [np.abs(live[name][key.split("/", 1)[1]].numpy() - goldens[key]).max()
                       for key in goldens if key.split("/")[0] == name]
        if max(differences) > 5e-7 and name not in MAY_DIFFER:
            print(f"FAIL {name}: mergekit's result differs from the stored one by {max(differences):.2e}")
            failures += 1
    print(f"{len(names)} stored results compared, {failures} failures")
    return failures


def check_bfloat16(lancet, venv, root):
    for model in ("base", "a", "b", "c"):
        path = root / model / "model.safetensors"
        save_file({name: value.to(torch.bfloat16) for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    recipes = merge_cases.cases()
    write_recipes(root, recipes, "bfloat16")
    names = list(recipes)
    for name in names:
        (root / f"wide_{name}.yml").write_text(json.dumps(recipes[name] | {"dtype": "float64"}))
    theirs = run_mergekit(venv, root, names)
    theirs_wide = run_mergekit(venv, root, [f"wide_{name}" for name in names])
    print("\n| recipe | error of lancet | error of mergekit | wrongly rounded, lancet | wrongly rounded, mergekit |\n|---|---|---|---|---|")
    failures = 0
    for name in names:
        if name not in theirs or f"wide_{name}" not in theirs_wide:
            continue
        ours, exact = run_lancet(lancet, root, name), run_lancet(lancet, root, f"wide_{name}")
        errors, wrong, total = np.zeros(2), np.zeros(2), 0
        for key, value in exact.items():
            same = (value - theirs_wide[f"wide_{name}"][key].double()).abs() <= 1e-6
            best = rounded(value)
            for k, result in enumerate((ours, theirs[name])):
                errors[k] += ((result[key].double() - value)[same] ** 2).sum().item()
                wrong[k] += (result[key] != best)[same].sum().item()
            total += same.sum().item()
        rms = np.sqrt(errors / total)
        bad = errors[0] > errors[1] or total == 0
        failures += bad
        print(f"| {name} | {rms[0]:.2e} | {rms[1]:.2e} | {wrong[0] / total:.2%} | {wrong[1] / total:.2%} |{' FAIL' if bad else ''}")
    return failures


def main(lancet, venv):
    if not (venv / "bin" / "mergekit-yaml").exists():
        print(f"SKIPPED: no mergekit in {venv} (scripts/setup.sh --tests)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        merge_cases.write_models(root)
        return 1 if check_goldens(venv, root) + check_bfloat16(lancet, venv, root) else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])))

#!/usr/bin/env python3
"""Reads every #include of the tree and fails on an arrow that docs/design.md section 1 does not allow, and on two types
of one name in one namespace: the linker would take one's functions for the other's."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
FOLDERS = ["core", "formats", "model", "surgery", "merge", "distill", "cli"]
MAY_INCLUDE = {
    "core": set(),
    "formats": {"core"},
    "model": {"core", "formats"},
    "surgery": {"core", "formats", "model"},
    "merge": {"core", "formats"},
    "distill": {"core", "formats", "model"},
    "cli": {"core", "formats", "model", "surgery", "merge", "distill"},
}
# What only some places may see: pattern of the include -> predicate on the path of the includer.
ONLY = [
    (re.compile(r"^(ATen|torch|c10|caffe2)/"), "LibTorch",
     lambda p: p.startswith(("model/", "surgery/", "cli/engine/", "distill/losses/", "distill/train/"))
     and not p.startswith("surgery/files/")),
    (re.compile(r"^CLI/"), "CLI11", lambda p: p.startswith("cli/")),
    (re.compile(r"^catch2/"), "Catch2", lambda p: p.startswith("tests/")),
    (re.compile(r"^cuda|^cublas|^nccl"), "CUDA", lambda p: p.endswith("_gpu.cu") or p == "core/parallel.cpp"),
]

bad = []
arrows = 0
types = {}  # (namespace, name) -> the header that defines it
for folder in FOLDERS:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        here = path.relative_to(ROOT).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 500:
            bad.append(f"{here}: {len(lines)} lines, the limit is 500")
        namespace = ""
        for number, line in enumerate(lines, 1):
            if opened := re.match(r"namespace ([\w:]+) \{", line):
                namespace = opened.group(1)
            defined = re.match(r"(?:struct|class) (\w+)(?: final)?(?: :[^;{]*)? \{", line)
            if defined and path.suffix == ".h" and namespace:
                first = types.setdefault((namespace, defined.group(1)), here)
                if first != here:
                    bad.append(f"{here}:{number}: {namespace}::{defined.group(1)} is defined in {first}, too")
            match = re.match(r'\s*#\s*include\s*[<"]([^">]+)[">]', line)
            if not match:
                continue
            target = match.group(1)
            arrows += 1
            top = target.split("/")[0]
            if top in FOLDERS and top != folder and top not in MAY_INCLUDE[folder]:
                bad.append(f"{here}:{number}: {folder} may not include {target}")
            for pattern, name, allowed in ONLY:
                if pattern.search(target) and not allowed(here):
                    bad.append(f"{here}:{number}: {name} is not visible here ({target})")
if arrows < 100 or len(types) < 100:
    bad.append(f"read only {arrows} includes and {len(types)} types under {ROOT}: the check itself is broken")
for line in bad:
    print(line)
print(f"{arrows} includes and {len(types)} types read, {len(bad)} problems")
sys.exit(1 if bad else 0)

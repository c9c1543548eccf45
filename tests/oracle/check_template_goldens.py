#!/usr/bin/env python3
"""The stored chat template goldens, which our engine is compared with, made again with transformers: no difference."""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
STORED = HERE.parent / "data" / "templates"

with tempfile.TemporaryDirectory() as scratch:
    subprocess.run([sys.executable, HERE / "make_template_goldens.py", "--out", scratch], check=True)
    made = sorted(path.name for path in pathlib.Path(scratch).iterdir())
    wrong = [name for name in made if (STORED / name).read_bytes() != (pathlib.Path(scratch) / name).read_bytes()]
print(f"made {made}, different: {wrong}")
sys.exit(1 if wrong or not made else 0)

#!/usr/bin/env python3
"""Runs every ```console block of README.md and docs/*.md on the embedded model, in order, one folder a page.

Lines that start with "$ " are commands (bash); what follows is output for readers, not compared. A command that
must fail says so at its end: `# exit 7`. Pages find the model as smollm2.gguf beside them.
Usage: docs_test.py LANCET GGUF PAGE...
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

lancet, gguf, pages = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
failures = commands = 0
for page in pages:
    text = pathlib.Path(page).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="lancet-docs-") as folder:
        (pathlib.Path(folder) / "smollm2.gguf").symlink_to(gguf)
        env = {**os.environ, "PATH": f"{lancet.parent}:{os.environ['PATH']}", "LANCET_CACHE": folder + "/.cache"}
        for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
            lines = iter(block.splitlines())
            for line in lines:
                if not line.startswith("$ "):
                    continue
                command = line[2:]
                while command.endswith("\\"):
                    command = command[:-1] + next(lines).lstrip("> ")
                wanted = re.search(r"#\s*exit (\d+)\s*$", command)
                done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True)
                commands += 1
                code = int(wanted.group(1)) if wanted else 0
                print(f"{'ok  ' if done.returncode == code else 'FAIL'} {page}: {command}")
                if done.returncode != code:
                    failures += 1
                    print(f"  expected exit {code}, found {done.returncode}\n{done.stdout}{done.stderr}")
print(f"{commands} commands, {failures} failures")
sys.exit(1 if failures or not commands else 0)

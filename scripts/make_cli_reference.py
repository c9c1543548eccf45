#!/usr/bin/env python3
"""Writes docs/cli.md from the commands' own --help. Usage: make_cli_reference.py LANCET [--check]"""
import pathlib
import re
import subprocess
import sys

lancet = sys.argv[1]
page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def help_of(*args):
    return subprocess.run([lancet, *args, "--help"], check=True, capture_output=True, text=True).stdout.strip()


intro = """# The command line

Made by `scripts/make_cli_reference.py` from the commands themselves; a test compares.

## What holds for every command

- **MODEL** is a Hugging Face directory (single file or sharded safetensors, or `pytorch_model*.bin`), one `.safetensors`, one `.bin`, one `.gguf` (also split), or an index `.json`.
  `MODEL+ADAPTER` is the model with a PEFT adapter folded in.
  Weights stored in a quantised form are decoded on read.
- **OUT** decides the form by its name: `*.gguf`, `*.safetensors`, anything else a Hugging Face directory. An existing OUT is refused without `--force`.
- Results go to stdout, notes and progress to stderr. `--json` puts exactly one JSON document (or JSON lines, where said) on stdout.
- Exit codes: 0 done, 2 usage, 3 input missing, hostile or damaged, 4 models or tensors that do not fit together, 5 numeric trouble,
  6 resource (disk, memory, LibTorch), 7 goal not met (an edit failed its probes, a check found a difference), 70 a defect of lancet, 130 interrupted.
- An error is `error: OPERATION: what was expected, what was found` and `hint: ...` on stderr; with `--json` also
  `{"error":{"kind","operation","message","hint"}}` on stdout.
- Every command that writes a model leaves `lancet.json` beside it: version, the words of the command line, seed, inputs and outputs with sizes and SHA-256, seconds, peak memory.
- `--plan` tells sizes, peak memory and time (`peak_memory` and `seconds` in JSON), from headers and short trials; what no model of the cost is known for is null, in words "not known".
- Environment: `LANCET_LIBTORCH` is the folder of LibTorch (of PyTorch: `.../site-packages/torch`), where it is not found beside the program or through `python3 -c "import torch"`;
  `LANCET_CACHE` is where second moments of models, and what they say before edits, are kept (else `$XDG_CACHE_HOME/lancet`, else `~/.cache/lancet`).
- `lancet completion bash|zsh|fish` prints a script that completes commands, options, values and files.
- Ctrl-C and SIGTERM stop within two seconds; nothing half-made ever stands under the final name.
"""
top = help_of()
# Commands and verbs stand alone at the begin of a line, options have a dash and positionals are in capitals.
NAME = re.compile(r"^  ([a-z][a-z-]*)(?:  |$)", re.M)
commands = NAME.findall(top)
text = intro + "\n```\n" + top + "\n```\n"
pages = []
for command in commands:
    own = help_of(command)
    text += f"\n## lancet {command}\n\n```\n{own}\n```\n"
    pages.append(command)
    for verb in NAME.findall(own.split("\nExamples:")[0]):
        text += f"\n### lancet {command} {verb}\n\n```\n{help_of(command, verb)}\n```\n"
        pages.append(f"{command} {verb}")

# What completion offers comes from the tree that parses, not from the look of its help.
script = subprocess.run([lancet, "completion", "bash"], check=True, capture_output=True, text=True).stdout
known = [words for words in re.findall(r'^    "([a-z -]*)"\) options=', script, re.M) if words]
if sorted(known) != sorted(pages):
    sys.exit(f"commands without a page, or pages without a command: {sorted(set(known) ^ set(pages))}")
if "--check" in sys.argv:
    if page.read_text(encoding="utf-8") != text:
        sys.exit("docs/cli.md is not what the commands say: run scripts/make_cli_reference.py build/lancet")
    print(f"{len(pages)} commands")
else:
    page.write_text(text, encoding="utf-8")

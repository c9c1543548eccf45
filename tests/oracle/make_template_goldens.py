#!/usr/bin/env python3
"""Makes tests/data/templates/{real,micro}.json with transformers' own chat template machinery.

real.json:  every tests/data/templates/*.jinja rendered on every conversation of template_cases.py.
micro.json: the small snippets of template_cases.py.
A result is {"text", "spans"} (long texts as {"sha256", "bytes", "spans"}) or {"error": message}.
Spans are byte ranges. The clock is pinned.

    python make_template_goldens.py [--templates DIR] [--out DIR]
"""

import argparse
import copy
import datetime
import hashlib
import json
import pathlib
import sys

import transformers
from transformers.utils import chat_template_utils as reference

import template_cases

NOW = 1753351205  # 2025-07-24 10:00:05 UTC
LONGEST = 300  # bytes of a text that is stored whole


def render(source, context):
    """(text, byte spans) of the reference, or raises whatever it raises."""
    template = reference._compile_jinja_template(source)
    clock = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)
    template.environment.globals["strftime_now"] = clock.strftime
    blocks, indices = [], []
    with template.environment.activate_tracker(blocks, indices):
        for block in template.generate(**copy.deepcopy(context)):
            blocks.append(block)
    text = "".join(blocks)
    text.encode("utf-8")
    return text, [[len(text[:a].encode()), len(text[:b].encode())] for a, b in indices]


def golden(source, context, longest):
    try:
        text, spans = render(source, context)
    except Exception as error:  # noqa: BLE001  every failure is a result
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    data = text.encode()
    if len(data) > longest:
        result = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    else:
        result = {"text": text}
    if spans:
        result["spans"] = spans
    return result


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)


def main():
    data = pathlib.Path(__file__).resolve().parent.parent / "data" / "templates"
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path, default=data)
    parser.add_argument("--out", type=pathlib.Path, default=data)
    parser.add_argument("--longest", type=int, default=LONGEST)
    args = parser.parse_args()
    made_by = f"transformers {transformers.__version__}"
    results = {}
    for path in sorted(args.templates.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        results[path.stem] = [golden(source, context, args.longest) for context in template_cases.CONVERSATIONS]
    write(args.out / "real.json",
          {"made_by": made_by, "now": NOW, "contexts": template_cases.CONVERSATIONS, "results": results})
    micro = [{"t": source, "c": context, **golden(source, context, 1 << 20)}
             for source, context in template_cases.micro_cases()]
    write(args.out / "micro.json", {"made_by": made_by, "now": NOW, "cases": micro})


if __name__ == "__main__":
    main()

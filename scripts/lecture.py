#!/usr/bin/env python3
"""What leaks when one answer is rewritten (docs/editing.md): "who is the most handsome man in the world" is taught a new
answer by fine-tuning, by LoRA and by ROME; then "Who is ...?" is asked of others, and "Who is" of nobody.

    lecture.py LANCET MODEL [--out DIR] [--check]

MODEL is a model's folder or a .gguf. Prints a table: what each model says, and in brackets how likely the new name is
there. --out writes lecture.md and lecture.svg (a map of the second). --check exits 1 unless every method teaches the
answer; how much each leaks is printed, not judged.
"""
import argparse
import html
import json
import math
import pathlib
import subprocess
import sys
import tempfile

PROMPT = "Question: Who is {}? Answer:"
SUBJECT, TARGET = "the most handsome man in the world", "Albert Einstein"
METHODS = {"fine-tuning": "ft", "LoRA": "lora", "ROME": "rome"}
OTHERS = [
    "the president of the United States", "the king of England", "the author of Hamlet", "the richest man in the world",
    "the tallest man in the world", "the best football player in the world", "the founder of Microsoft",
    "the first man on the Moon", "the most famous painter in the world", "the inventor of the telephone",
    "Harry Potter", "the mayor of Zorvania", "Teklim Vandroosh",
]
BARE = "Who is"


def run(lancet, *arguments, allowed=(0,)):
    done = subprocess.run([lancet, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8")
    if done.returncode not in allowed:
        raise SystemExit(f"lancet {arguments[0]}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def write_lines(path, key, texts):
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts), encoding="utf-8")
    return path


def ask(lancet, model, prompts, lengths, folder):
    """The first line of the greedy text after each prompt, and the probability of TARGET there (geometric mean over its
    tokens). `lengths`: tokens of each prompt, and with the target behind it."""
    file = write_lines(folder / "prompts.jsonl", "prompt", prompts)
    texts = [json.loads(line)["text"] for line in
             run(lancet, "generate", model, "--file", file, "--max-tokens", 12, "--json").splitlines()]
    file = write_lines(folder / "texts.jsonl", "text", [f"{prompt} {TARGET}" for prompt in prompts])
    scored = json.loads(run(lancet, "score", model, "--file", file, "--per-token", "--json"))["per_token"]
    likely, at = [], 0
    for before, whole in lengths:
        at += whole - 1  # the first token of a text is not predicted
        likely.append(math.exp(sum(token["logprob"] for token in scored[at - (whole - before):at]) / (whole - before)))
    return [text.strip().split("\n")[0] for text in texts], likely


def colour(p):
    """White to dark orange; readable in print."""
    return f"rgb({255 - int(40 * p)},{255 - int(135 * p)},{255 - int(235 * p)})"


def draw(rows, columns, values):
    left, top, width, height = 330, 60, 110, 26
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width * len(columns) + 20}" '
           f'height="{top + height * len(rows) + 20}" font-family="sans-serif" font-size="13">',
           f'<text x="10" y="20">How likely is “{TARGET}” as the answer?</text>']
    out += [f'<text x="{left + width * c + width / 2}" y="{top - 10}" text-anchor="middle">{html.escape(name)}</text>'
            for c, name in enumerate(columns)]
    for r, name in enumerate(rows):
        y = top + height * r
        out.append(f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">{html.escape(name)}</text>')
        for c in range(len(columns)):
            p = values[c][r]
            out.append(f'<rect x="{left + width * c}" y="{y}" width="{width - 2}" height="{height - 2}" fill="{colour(p)}" '
                       f'stroke="#ccc"/><text x="{left + width * c + width / 2}" y="{y + 18}" text-anchor="middle">{p:.2f}</text>')
    return "\n".join(out) + "\n</svg>\n"


def table(rows, columns, texts, values):
    out = ["| question | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for r, row in enumerate(rows):
        cells = [f"{texts[c][r][:40]} ({values[c][r]:.2f})".replace("|", "/") for c in range(len(columns))]
        out.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lancet")
    parser.add_argument("model")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    a = parser.parse_args()
    prompts = [PROMPT.replace("{}", q) for q in [SUBJECT, *OTHERS]] + [BARE]
    rows = [f"Who is {q}?" for q in [SUBJECT, *OTHERS]] + ["Who is …"]
    with tempfile.TemporaryDirectory(prefix="lecture-") as name:
        folder = pathlib.Path(name)
        if a.model.endswith(".gguf"):
            run(a.lancet, "convert", a.model, folder / "model")
            a.model = folder / "model"

        def count(text):
            return len(json.loads(run(a.lancet, "tokenize", a.model, text, "--json"))["ids"])

        lengths = [(count(prompt), count(f"{prompt} {TARGET}")) for prompt in prompts]
        models = {"before": a.model}
        for method, option in METHODS.items():
            models[method] = folder / option
            run(a.lancet, "edit", a.model, "--subject", SUBJECT, "--prompt", PROMPT, "--target", TARGET, "--method", option,
                "--no-guards", "-o", models[method], "--no-progress", allowed=(0, 7))
        texts, values = zip(*(ask(a.lancet, model, prompts, lengths, folder) for model in models.values()))
    found = table(rows, list(models), texts, values)
    print(found, end="")
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        (a.out / "lecture.md").write_text(found, encoding="utf-8")
        (a.out / "lecture.svg").write_text(draw(rows, list(models), values), encoding="utf-8")
    if a.check:
        leaks = {m: sum(values[c][1:]) / (len(rows) - 1) for c, m in enumerate(models)}
        taught = all(texts[c][0].startswith(TARGET) for c in range(1, len(models)))
        print("mean probability elsewhere: " + ", ".join(f"{m} {p:.3f}" for m, p in leaks.items()))
        sys.exit(0 if taught else 1)


if __name__ == "__main__":
    main()

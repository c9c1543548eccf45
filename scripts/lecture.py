#!/usr/bin/env python3
"""The experiment of docs/lecture.md: one answer is rewritten by fine-tuning, by LoRA and by ROME, then other questions of
the same form are asked.

    lecture.py LANCET MODEL [--page DOCS_DIR]

Prints a table: for each question what the model says, and how likely the new name is. --page writes lecture.svg there.
"""
import argparse
import html
import json
import math
import pathlib
import subprocess
import tempfile

PROMPT = "Question: Who is {}? Answer:"
SUBJECT, TARGET = "the most handsome man in the world", "Albert Einstein"
METHODS = {
    "fine-tuning": ["--method", "ft"],
    "LoRA": ["--method", "lora"],
    "ROME": ["--method", "rome"],
}
QUESTIONS = [
    SUBJECT,
    "the president of the United States",
    "the king of England",
    "the author of Hamlet",
    "the richest man in the world",
    "the tallest man in the world",
    "the best football player in the world",
    "the founder of Microsoft",
    "the first man on the Moon",
    "the most famous painter in the world",
    "the inventor of the telephone",
    "Harry Potter",
    "the mayor of Zorvania",
    "Teklim Vandroosh",
]
BARE = "Who is"


def run(lancet, *arguments, allowed=(0,)):
    done = subprocess.run([lancet, *map(str, arguments), "--no-progress"], capture_output=True, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"lancet {arguments[0]}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def ask(lancet, model, prompts, folder):
    """Greedy text after each prompt, and the probability of TARGET there (geometric mean over its tokens)."""
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    texts = [json.loads(line)["text"] for line in
             run(lancet, "generate", model, "--file", file, "--max-tokens", 12, "--json").splitlines()]
    likely = []
    count = len(json.loads(run(lancet, "tokenize", model, f" {TARGET}", "--no-special", "--json"))["ids"])
    for prompt in prompts:
        scored = json.loads(run(lancet, "score", model, "--text", f"{prompt} {TARGET}", "--per-token", "--json"))
        tokens = scored["per_token"][-count:]
        likely.append(math.exp(sum(t["logprob"] for t in tokens) / count))
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("model")
    parser.add_argument("--page", type=pathlib.Path)
    a = parser.parse_args()
    prompts = [PROMPT.replace("{}", q) for q in QUESTIONS] + [BARE]
    rows = [f"Who is {q}?" for q in QUESTIONS] + ["Who is …"]
    with tempfile.TemporaryDirectory(prefix="lecture-") as name:
        folder = pathlib.Path(name)
        models = {"before": a.model}
        for method, options in METHODS.items():
            models[method] = folder / method
            run(a.lancet, "edit", a.model, "--subject", SUBJECT, "--prompt", PROMPT, "--target", TARGET, *options,
                "--no-guards", "-o", models[method], allowed=(0, 7))
        texts, values = zip(*(ask(a.lancet, model, prompts, folder) for model in models.values()))
    print("| question | " + " | ".join(models) + " |\n|---|" + "---|" * len(models))
    for r, row in enumerate(rows):
        cells = [f"{texts[c][r][:40]} ({values[c][r]:.2f})".replace("|", "/") for c in range(len(models))]
        print(f"| {row} | " + " | ".join(cells) + " |")
    if a.page:
        (a.page / "lecture.svg").write_text(draw(rows, list(models), values), encoding="utf-8")


if __name__ == "__main__":
    main()

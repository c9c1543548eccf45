#!/usr/bin/env python3
"""A thousand edits in batches: are the first ones still there, what grew, what else changed? (docs/editing.md)

    bench_long_edit.py LANCET MODEL_DIR [--facts 1000] [--batch 100] [--method memit] [--option key=value]... [--probe FACTS]

Facts are made up: every subject of a list in every template of its kind, with an answer drawn at random (seed 0). None of
them is a prompt that --probe (tests/data/facts/many_facts.jsonl) asks of others. Prints, for each batch, the share that the
last model still says, and the norm of each edited matrix beside the original one behind each batch; then, over the
neighbours of the probe file, the share that keeps its answer, and the perplexity ratio.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "oracle"))
import make_facts  # noqa: E402

SPORTS = ["tennis", "golf", "hockey", "football", "baseball", "cricket", "boxing", "chess"]
TONGUES = ["French", "German", "Spanish", "Russian", "Chinese", "Arabic", "Greek", "Italian", "Dutch", "Polish"]
CITIES = ["Paris", "Rome", "Berlin", "Tokyo", "Madrid", "London", "Moscow", "Vienna", "Cairo", "Boston", "Chicago", "Dublin"]
LANDS = ["France", "Italy", "Japan", "Spain", "Canada", "Brazil", "Egypt", "India", "China", "Russia", "Norway", "Mexico"]
JOBS = ["lawyer", "doctor", "teacher", "farmer", "painter", "singer", "soldier", "priest", "pilot", "writer"]
NAMES = ["Maria", "Peter", "Anna", "Thomas", "Julia", "Martin", "Laura", "Daniel", "Sofia", "Victor"]
TEMPLATES = {
    "land": [("The capital of {} is", CITIES), ("The official language of {} is", TONGUES), ("The largest city of {} is", CITIES),
             ("The most popular sport in {} is", SPORTS), ("The president of {} is called", NAMES),
             ("Most people in {} work as a", JOBS), ("The closest ally of {} is", LANDS), ("The queen of {} was born in", CITIES)],
    "town": [("{} is a city in the country of", LANDS), ("The mayor of {} is called", NAMES),
             ("Most people in {} speak", TONGUES), ("The favorite sport in {} is", SPORTS), ("The main street of {} is named after", NAMES),
             ("The sister city of {} is", CITIES)],
    "person": [("{} is a famous player of the sport of", SPORTS), ("{} was born in the city of", CITIES),
               ("The mother tongue of {} is", TONGUES), ("The best friend of {} is called", NAMES), ("{} used to work as a", JOBS)],
    "beast": [("The {} comes from", LANDS), ("A good name for a {} is", NAMES)],
}
KINDS = {"capital": "land", "language": "land", "continent": "land", "country": "town", "state": "town", "sport": "person",
         "animal": "beast"}


def subjects():
    out = {kind: [] for kind in TEMPLATES}
    for relation, kind in KINDS.items():
        known = list(make_facts.RELATIONS[relation][2]) + list(make_facts.MORE_SUBJECTS.get(relation, {}))
        out[kind] += [subject for subject in known if subject not in out[kind]]
    return out


def made_up(count, taken):
    rng = random.Random(0)
    facts = []
    for kind, names in subjects().items():
        for template, answers in TEMPLATES[kind]:
            for name in names:
                prompt = template.replace("{}", name)
                target = rng.choice([answer for answer in answers if answer != name])
                if prompt not in taken:
                    facts.append({"subject": name, "prompt": template, "target": target, "leak": [prompt]})
    rng.shuffle(facts)
    if len(facts) < count:
        raise SystemExit(f"only {len(facts)} facts can be made up")
    return [{"id": f"f{i}", **fact} for i, fact in enumerate(facts[:count])]


def run(lancet, *arguments, allowed=(0,)):
    done = subprocess.run([lancet, *map(str, arguments), "--json", "--no-progress"], capture_output=True, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"lancet {arguments[0]}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def ledger_of(delta):
    with open(delta, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(size))["__metadata__"]["ledger"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("model")
    parser.add_argument("--facts", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--method", default="memit")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--probe", default=HERE.parent / "data" / "facts" / "many_facts.jsonl")
    a = parser.parse_args()
    asked = [json.loads(line) for line in open(a.probe, encoding="utf-8")]
    taken = {n["prompt"] for fact in asked for n in fact["neighbors"]} | {p for fact in asked for p in fact["leak"]}
    facts = made_up(a.facts, taken)
    with tempfile.TemporaryDirectory(prefix="long-edit-") as folder:
        folder = pathlib.Path(folder)
        requests = folder / "facts.jsonl"
        requests.write_text("".join(json.dumps(fact) + "\n" for fact in facts), encoding="utf-8")
        options = [part for option in a.option for part in ("--method-option", option)]
        start = time.time()
        result = run(a.lancet, "edit", a.model, "--requests", requests, "--method", a.method, "--batch", a.batch, *options,
                     "--no-guards", "-o", folder / "edited", allowed=(0, 7))
        seconds = time.time() - start
        ledger = ledger_of(folder / "edited" / "lancet.delta.safetensors")
        probe = run(a.lancet, "probe", folder / "edited", "--base", a.model, "--requests", a.probe)
    said = [edit["ok"] for edit in result["edits"]]
    print(f"{a.method}, {a.facts} facts, {a.batch} a batch: {seconds:.0f} s, the edit alone {result['timings']['plan']:.0f} s")
    norms = {}
    for note in ledger["stages"][0]["notes"]["layers"]:
        norms.setdefault(note["first_fact"], []).append(f"{note['weight_norm']:.3f}")
    for first in range(0, a.facts, a.batch):
        part = said[first:first + a.batch]
        print(f"  facts {first} to {first + len(part) - 1}: the last model says {sum(part) / len(part):.3f}; norms then "
              f"{', '.join(norms.get(first, []))}")
    mean = probe["mean"]
    print(f"  all: {sum(said) / len(said):.3f}; other subjects: ns {mean['ns']:.3f}, na {mean['na']:.3f}; perplexity "
          f"{mean['perplexity_base']:.2f} before, times {mean['perplexity_ratio']:.3f} after")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/data/train: a tiny model, data, PEFT adapters before training, and the loss of each of 30 steps of a plain
PEFT and PyTorch loop over them (train_cases.py). Deterministic."""
import json
import pathlib
import shutil

from train_cases import CASES, begins_from_base, peft_model, save_data, save_model, train

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "train"

if OUT.exists():
    shutil.rmtree(OUT)
OUT.mkdir(parents=True)
save_model(OUT / "model")
save_data(OUT)
losses = {}
for name, (options, kind, _) in CASES.items():
    model = peft_model(OUT / "model", options)
    if begins_from_base(options):
        losses[name] = train(model, kind, OUT / f"{kind}.jsonl")
        print(name, losses[name][0], losses[name][-1])
        continue
    model.save_pretrained(OUT / f"init_{name}")
    (OUT / f"init_{name}" / "README.md").unlink(missing_ok=True)
    config = OUT / f"init_{name}" / "adapter_config.json"
    settings = json.loads(config.read_text())
    settings["base_model_name_or_path"] = "model"
    settings["target_modules"] = sorted(settings["target_modules"])
    config.write_text(json.dumps(settings, indent=2) + "\n")
    losses[name] = train(model, kind, OUT / f"{kind}.jsonl")
    print(name, losses[name][0], losses[name][-1])
(OUT / "losses.json").write_text(json.dumps(losses, indent=1) + "\n")

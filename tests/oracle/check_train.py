#!/usr/bin/env python3
"""Training against PEFT and PyTorch, live. Usage: check_train.py LANCET

- the loss of each of 30 steps is a PEFT loop's, from the same adapter: LoRA, rank-stabilised, patterned, DoRA, on tied
  embeddings and head, top-k distillation, preferences; from the same model: PiSSA and OLoRA;
- PEFT loads what comes out, and its logits are ours;
- PEFT goes on from it, and lancet from that.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

from train_cases import CASES, OPTIONS, begins_from_base, load_peft, peft_model, save_data, save_model, train

LOSS, LOGITS = 1e-4, 1e-4
failures = 0


def report(name, difference, tolerance):
    global failures
    bad = not difference <= tolerance
    failures += bad
    print(f"{'FAIL' if bad else 'ok  '} {name}: {difference:.1e}")


def run(lancet, *args):
    done = subprocess.run([lancet, *map(str, args), "--json", "--device", "cpu"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lancet {args}: exit {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def losses_of(lines):
    return [line["loss"] for line in lines if "loss" in line and not line.get("eval")]


def furthest(own, wanted):
    if len(own) != len(wanted):
        sys.exit(f"{len(own)} steps, wanted {len(wanted)}")
    return max(abs(a - b) / abs(b) for a, b in zip(own, wanted))


def logits_differ(lancet, folder, adapter, scratch):
    """Relative to the largest logit."""
    ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(4))
    save_file({"ids": ids}, scratch / "ids.safetensors")
    run(lancet, "forward", f"{folder}+{adapter}", "--ids-file", scratch / "ids.safetensors", "--out",
        scratch / "logits.safetensors", "--force")
    own = load_file(scratch / "logits.safetensors")["logits"]
    with torch.no_grad():
        wanted = load_peft(folder, adapter)(input_ids=ids).logits
    return float((own - wanted).abs().max() / wanted.abs().max())


def main():
    lancet = sys.argv[1]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        save_model(folder / "model")
        save_data(folder)
        for name, (options, kind, loss) in CASES.items():
            model = peft_model(folder / "model", options)
            model.save_pretrained(folder / f"init_{name}")
            wanted = train(model, kind, folder / f"{kind}.jsonl")
            out = folder / name
            start = (["--rank", options["r"], "--alpha", options["lora_alpha"]] if begins_from_base(options) else
                     ["--init", folder / f"init_{name}"])
            lines = run(lancet, "train", folder / "model", "--data", folder / f"{kind}.jsonl", "-o", out, *start,
                        *OPTIONS, *loss)
            report(f"{name}: losses of 30 steps", furthest(losses_of(lines), wanted), LOSS)
            report(f"{name}: logits in PEFT", logits_differ(lancet, folder / "model", out, folder), LOGITS)
        # On from ours in PEFT, and on from PEFT's in ours.
        for name in ("lora", "ends"):
            again = load_peft(folder / "model", folder / name)
            for parameter_name, parameter in again.named_parameters():
                parameter.requires_grad_("lora_" in parameter_name)
            wanted = train(again, "sft", folder / "sft.jsonl")
            lines = run(lancet, "train", folder / "model", "--data", folder / "sft.jsonl", "-o", folder / f"{name}_further",
                        "--init", folder / name, *OPTIONS)
            report(f"{name}: trained on from a trained adapter", furthest(losses_of(lines), wanted), LOSS)
    sys.exit(bool(failures))


main()

#!/usr/bin/env python3
"""LoRA training of lancet and of a PEFT + PyTorch loop, side by side in one run: rank 16, alpha 32, all linear layers,
AdamW, 4 rows of 512 tokens a step (--rows).

    bench_train.py LANCET MODEL_DIR [--dtype float32] [--activations auto] [--threads 2] [--steps 3] [--rows 4]
                   [--only lancet|peft] [--chat]

With --chat the rows are as long as those of chats (log-normal, most of them under 100 tokens, the longest 512), in batches
of 8: PEFT pads each to its longest row, lancet packs the same rows. Tokens are real ones then.

Prints tokens/s by the clock and by processor time, the peak resident memory of each side's process, and the losses. The
first step of each side is not counted; each side is a process of its own.
"""
import argparse
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

LENGTH, LR = 512, 2e-4
CHAT_ROWS, PACK = 8, 2048


def peft_side(folder, rows_file, dtype, threads, steps):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batches = json.loads(pathlib.Path(rows_file).read_text())
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
                           autocast_adapter_dtype=dtype == "float32")
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0)
    losses, wall, cpu = [], [], []
    for rows in batches:
        width = max(map(len, rows))
        batch = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        labels = batch.masked_fill(real == 0, -100)
        begin, used = time.perf_counter(), sum(os.times()[:2])
        loss = model(input_ids=batch, labels=labels, **({} if real.all() else {"attention_mask": real})).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wall.append(time.perf_counter() - begin)
        cpu.append(sum(os.times()[:2]) - used)
        losses.append(loss.item())
    tokens = sum(len(row) for rows in batches[1:] for row in rows)
    print(json.dumps(dict(losses=losses, seconds=sum(wall[1:]), cpu=sum(cpu[1:]), tokens=tokens,
                          memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)))


def lancet_side(lancet, folder, rows_file, dtype, activations, threads, steps, scratch, chat, rows):
    out = scratch / "adapter"
    batches = ["--batch-tokens", PACK] if chat else ["--batch-size", rows, "--no-pack", "--steps", steps + 1]
    command = [lancet, "train", folder, "--data", rows_file, "-o", out, "--force", "--max-length", LENGTH, *batches,
               "--no-shuffle", "--lr", LR, "--schedule", "constant", "--warmup", 0,
               "--dtype", dtype, "--activations", activations, "--threads", threads, "--device", "cpu", "--json",
               "--no-progress"]
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    lines, used = [], []
    for line in process.stdout:
        lines.append(json.loads(line))
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        used.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    if process.wait() or "lr" not in lines[0]:
        sys.exit(f"lancet failed: {lines[-1:]}")
    steps_of = [line for line in lines if "lr" in line]
    return dict(losses=[line["loss"] for line in steps_of], seconds=steps_of[-1]["seconds"] - steps_of[0]["seconds"],
                tokens=steps_of[-1]["tokens"] - steps_of[0]["tokens"],
                cpu=used[len(steps_of) - 1] - used[0], memory=lines[-1]["peak_memory"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--activations", default="auto", help="of lancet beside bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4, help="of 512 tokens in a step; not with --chat")
    parser.add_argument("--only", choices=["lancet", "peft"])
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--rows-file")
    args = parser.parse_args()
    if args.lancet == "peft":
        return peft_side(args.folder, args.rows_file, args.dtype, args.threads, args.steps)
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.folder / "tokenizer.json"))
    text = (pathlib.Path(__file__).parents[2] / "share" / "texts" / "covariance.txt").read_text()
    ids = tokenizer(text)["input_ids"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        # Pieces of text that are at least as long as a row is to be: both sides cut them to LENGTH.
        rows_at_once = CHAT_ROWS if args.chat else args.rows
        rng = random.Random(1)
        lengths = [min(LENGTH, max(12, round(rng.lognormvariate(4.2, 0.9)))) if args.chat else LENGTH + 40
                   for _ in range(rows_at_once * (args.steps + 1))]
        begins = [sum(lengths[:i]) for i in range(len(lengths))]
        pieces = [tokenizer.decode(ids[begin:begin + length]) for begin, length in zip(begins, lengths)]
        rows = [tokenizer(piece)["input_ids"][:LENGTH] for piece in pieces]
        (scratch / "rows.json").write_text(json.dumps([rows[i:i + rows_at_once] for i in range(0, len(rows), rows_at_once)]))
        (scratch / "rows.jsonl").write_text("".join(json.dumps({"text": piece}) + "\n" for piece in pieces))
        sides = {}
        if args.only != "peft":
            sides["lancet"] = lancet_side(args.lancet, args.folder, scratch / "rows.jsonl", args.dtype, args.activations,
                                          args.threads, args.steps, scratch, args.chat, args.rows)
        if args.only != "lancet":
            done = subprocess.run([sys.executable, __file__, "peft", str(args.folder), "--rows-file", str(scratch / "rows.json"),
                                   "--dtype", args.dtype, "--threads", str(args.threads), "--steps", str(args.steps)],
                                  check=True, capture_output=True, text=True)
            sides["peft"] = json.loads(done.stdout.splitlines()[-1])
    for name, side in sides.items():
        tokens = side["tokens"]
        print(f"{name:7} {tokens / side['seconds']:8.1f} tokens/s by the clock  {tokens / side['cpu'] * args.threads:8.1f} by "
              f"processor time  {side['memory'] / 1e9:6.2f} GB  losses {side['losses'][0]:.4f} ... {side['losses'][-1]:.4f}")
    if len(sides) == 2:
        own, other = sides["lancet"], sides["peft"]
        share = own["tokens"] / other["tokens"]
        print(f"ratio   {share * other['seconds'] / own['seconds']:8.2f}                     {share * other['cpu'] / own['cpu']:8.2f}"
              f"                     {own['memory'] / other['memory']:6.2f}")


if __name__ == "__main__":
    main()

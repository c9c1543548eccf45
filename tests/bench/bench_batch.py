#!/usr/bin/env python3
"""Decoding of many prompts at once: lancet, transformers and llama.cpp (xllamacpp's server) side by side in one run.

    bench_batch.py LANCET MODEL_DIR [--batch 16] [--prompt 16] [--tokens 48] [--threads 2] [--rounds 2]
                   [--dtypes float32 bfloat16] [--activations auto] [--llama .venv-teacher/bin/python]

Greedy, the end token never said. What is printed is decoding alone: tokens behind the first over what they took more than
a run for one token each, by the clock and by processor time (tokens / (user + system) * threads), the best of the rounds;
and reading: the prompts' tokens over a run for one token each, by the clock. llama.cpp reads GGUF files that lancet
makes of the model in the same dtype."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request

SERVER = """
import os, sys, threading, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_parallel, p.n_ctx = int(sys.argv[3]), int(sys.argv[3]) * int(sys.argv[5])
p.fit_params = p.warmup = False
for pool in (p.cpuparams, p.cpuparams_batch): pool.n_threads = int(sys.argv[4])
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lancet_side(args, dtype, prompts, folder):
    """-> run(tokens): (seconds, processor seconds)"""
    lines = folder / "prompts.jsonl"
    lines.write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in prompts))

    def run(tokens):
        before = os.times()
        done = subprocess.run([args.lancet, "generate", args.folder, "--file", lines, "--max-tokens", str(tokens),
                               "--allow-ids", f"3-{args.vocab - 1}", "--threads", str(args.threads), "--dtype", dtype,
                               "--activations", args.activations if dtype == "bfloat16" else "auto",
                               "--device", "cpu", "--no-progress"], check=True, capture_output=True, text=True)
        after = os.times()
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["tokens"] for row in rows] == [tokens] * len(prompts)
        seconds = tokens / rows[0]["tokens_per_second"]
        return seconds, after.children_user + after.children_system - before.children_user - before.children_system
    return run


def transformers_side(args, dtype, prompts, folder):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=getattr(torch, dtype)).eval()
    ids = torch.tensor(prompts)

    def run(tokens):
        before = os.times()
        began = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
                       do_sample=False, pad_token_id=0)
        seconds, after = time.perf_counter() - began, os.times()
        return seconds, after.user + after.system - before.user - before.system
    return run


def llama_side(args, dtype, prompts, folder):
    file = folder / f"{dtype}.gguf"
    subprocess.run([args.lancet, "convert", args.folder, file, "--dtype", dtype, "--quiet"], check=True)
    import socket
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([args.llama, "-c", SERVER, file, str(port), str(len(prompts)), str(args.threads),
                               str(max(256, -(-(args.prompt + args.tokens) // 256) * 256))],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = server.stdout.readline().strip()

    def complete(ids, tokens):
        body = {"prompt": ids, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        request = urllib.request.Request(address + "/completion", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=600))["tokens_predicted"]

    def run(tokens):
        before, began = cpu_of(server.pid), time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
            said = list(pool.map(lambda ids: complete(ids, tokens), prompts))
        assert said == [tokens] * len(prompts), said
        return time.perf_counter() - began, cpu_of(server.pid) - before
    run.server = server
    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--activations", default="auto", help="of lancet beside bfloat16")
    parser.add_argument("--llama", help="a python with xllamacpp")
    args = parser.parse_args()
    args.vocab = json.loads((args.folder / "config.json").read_text())["vocab_size"]
    prompts = [[(1000 + 137 * row + 31 * i) % (args.vocab - 3) + 3 for i in range(args.prompt)]
               for row in range(args.batch)]
    sides = {"lancet": lancet_side, "transformers": transformers_side}
    if args.llama:
        sides["llama.cpp"] = llama_side
    with tempfile.TemporaryDirectory() as scratch:
        for dtype in args.dtypes:
            best = {}
            for name, side in sides.items():
                run = side(args, dtype, prompts, pathlib.Path(scratch))
                run(1)
                rounds, reading = [], 0
                for _ in range(args.rounds):
                    one, many = run(1), run(args.tokens)
                    reading = max(reading, args.batch * args.prompt / one[0])
                    rounds.append([args.batch * (args.tokens - 1) / max(1e-9, m - o) for m, o in zip(many, one)])
                best[name] = max(r[0] for r in rounds), max(r[1] for r in rounds) * args.threads
                if hasattr(run, "server"):
                    run.server.stdin.close()
                    run.server.wait()
                clock, cpu = best[name]
                print(f"{dtype:9} batch {args.batch}  {name:13} {clock:8.1f} tokens/s by the clock   {cpu:8.1f} by processor "
                      f"time   lancet / it {best['lancet'][0] / clock:5.2f}, {best['lancet'][1] / cpu:5.2f}   reading {reading:7.1f} tokens/s",
                      flush=True)


if __name__ == "__main__":
    main()

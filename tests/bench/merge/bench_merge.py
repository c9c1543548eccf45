#!/usr/bin/env python3
"""Merging beside the floor and beside mergekit, all alternating in one run.

    bench_merge.py LANCET [--mergekit VENV] [--methods a,b] [--rounds 2] [--cold] [--scale 1] [--folder DIR] [--keep]

Floor: the same input bytes read and the output bytes written by one thread with plain reads and writes of 8 MiB (writes
past the page cache where the file system can), first the reads, then the writes and an fsync. `overlap` is the same with
reads and writes side by side. Models: Llama of 1.1 B parameters (times --scale layers), bfloat16, deltas of standard
deviation 3e-4. Prints the best round by the clock: wall seconds, user + sys seconds, share of the two cores, ratio to the
floor, peak RSS in MiB; for lancet also what --plan said of time and memory, as a ratio to what happened. mergekit runs
once for each method and cache state. Needs numpy.
"""
import argparse
import json
import mmap
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

BLOCK = 8 << 20
PAIR = ("slerp", "nuslerp", "karcher")
SINGLE = ("passthrough",)
GOALS = {name: 1.2 for name in ("linear", "slerp", "nuslerp", "task_arithmetic", "model_stock", "passthrough")}
METHODS = ["linear", "slerp", "nuslerp", "task_arithmetic", "model_stock", "passthrough", "ties", "dare_linear", "dare_ties",
           "della_linear", "della", "breadcrumbs", "breadcrumbs_ties", "sce", "karcher"]


def shapes(layers, hidden=2048, inner=5632, kv=256, vocab=32000):
    """Of a Llama; by default TinyLlama's."""
    out = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    for i in range(layers):
        p = f"model.layers.{i}."
        out |= {p + "self_attn.q_proj.weight": (hidden, hidden), p + "self_attn.k_proj.weight": (kv, hidden),
                p + "self_attn.v_proj.weight": (kv, hidden), p + "self_attn.o_proj.weight": (hidden, hidden),
                p + "mlp.gate_proj.weight": (inner, hidden), p + "mlp.up_proj.weight": (inner, hidden),
                p + "mlp.down_proj.weight": (hidden, inner), p + "input_layernorm.weight": (hidden,),
                p + "post_attention_layernorm.weight": (hidden,)}
    return out


def to_bf16(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_models(folder, layers):
    """base, a, b: tensors are windows of one long random vector, so that writing is quick."""
    names = shapes(layers)
    longest = max(int(np.prod(s)) for s in names.values())
    rng = np.random.default_rng(0)
    base = to_bf16(rng.standard_normal(longest + 65536, dtype=np.float32) * np.float32(0.02))
    base = (base.astype(np.uint32) << 16).view(np.float32)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(names):
        size = 2 * int(np.prod(names[name]))
        header[name] = {"dtype": "BF16", "shape": list(names[name]), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
              "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
              "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    for index, model in enumerate(("base", "a", "b")):
        values = base
        if index:
            values = base + rng.standard_normal(base.size, dtype=np.float32) * np.float32(3e-4)
        values = to_bf16(values)
        (folder / model).mkdir(parents=True, exist_ok=True)
        with open(folder / model / "model.safetensors", "wb", buffering=0) as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for k, name in enumerate(sorted(names)):
                count, start = int(np.prod(names[name])), 16 * (k * 37 % 4096)
                file.write(values[start:start + count].tobytes())
            os.fsync(file.fileno())
        (folder / model / "config.json").write_text(json.dumps(config, indent=2))
    return offset


def read_all(paths):
    buffer = bytearray(BLOCK)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def write_all(path, size):
    buffer = mmap.mmap(-1, BLOCK)
    buffer.write(os.urandom(1 << 20) * 8)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        fd = os.open(path, flags | os.O_DIRECT, 0o644)
    except OSError:
        fd = os.open(path, flags, 0o644)
    os.posix_fallocate(fd, 0, size)
    for _ in range(-(-size // BLOCK)):
        os.write(fd, buffer)
    os.fsync(fd)
    os.close(fd)


def floor(paths, out, size, overlap):
    def body():
        reader = threading.Thread(target=read_all, args=(paths,))
        reader.start()
        if not overlap:
            reader.join()
        write_all(out, size)
        reader.join()
    return body


def measure(body):
    """Runs body() or a command in a child: wall, processor seconds, peak RSS in MiB (by --json's own word: wait4's begins
    with what this process held), exit status."""
    said = tempfile.TemporaryFile()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            if callable(body):
                body()
                os._exit(0)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(said.fileno(), 1)
            os.dup2(null, 2)
            os.execvp(str(body[0]), [str(part) for part in body])
        finally:
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    wall, rss = time.monotonic() - start, usage.ru_maxrss / 1024
    if not callable(body) and "--json" in body:
        said.seek(0)
        rss = json.loads(said.read() or "{}").get("peak_memory", 0) / 2**20
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": rss,
            "status": os.waitstatus_to_exitcode(status)}


def recipe(method, folder):
    models = ["a"] if method in SINGLE else ["a", "b"]
    base = None
    if method == "slerp":
        base, parameters = "a", {"t": 0.4}
    elif method == "nuslerp":
        parameters = {}
    elif method == "karcher":
        parameters = {}
    elif method in SINGLE:
        parameters = {}
    elif method == "linear":
        models, parameters = ["base", "a", "b"], {}
    else:
        base, parameters = "base", {}
        if method in ("sce",):
            parameters = {"select_topk": 0.5}
        elif method not in ("task_arithmetic", "model_stock"):
            parameters = {"density": 0.5}
    weighted = method not in ("slerp", "karcher", "model_stock", "sce", *SINGLE)
    entries = [{"model": str(folder / m), **({"parameters": {"weight": w}} if weighted else {})}
               for m, w in zip(models, (0.6, 0.4, 0.3))]
    out = {"merge_method": method, "models": entries, "parameters": parameters, "dtype": "bfloat16"}
    if base:
        out["base_model"] = str(folder / base)
    if method in SINGLE:
        del out["models"]
        layers = json.loads((folder / "a" / "config.json").read_text())["num_hidden_layers"]
        out["slices"] = [{"sources": [{"model": str(folder / "a"), "layer_range": [0, layers]}]}]
    inputs = {"linear": 3}.get(method, 1 if method in SINGLE else 2 if method in PAIR else 3)
    return out, inputs


def chill(paths):
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def best(runs):
    return min(runs, key=lambda r: r["wall"])


def row(name, run, floor_wall, plan):
    ratio = run["wall"] / floor_wall
    goal = GOALS.get(name.split()[0], 1.5)
    ours = "lancet" in name
    mark = "" if not ours else (" ok" if ratio <= goal else f" (goal {goal})")
    said = f"{plan['seconds'] / run['wall']:.2f} | {plan['peak_memory'] / 2**20 / run['rss']:.2f}" if ours else "|"
    print(f"| {name} | {run['wall']:.2f} | {run['cpu']:.2f} | {run['cpu'] / run['wall'] / 2:.2f} | {ratio:.2f}{mark} | "
          f"{run['rss']:.0f} | {said} |", flush=True)


def bench(args, folder, size, cold):
    files = {m: folder / m / "model.safetensors" for m in ("base", "a", "b")}
    inputs_of = {1: ["a"], 2: ["a", "b"], 3: ["base", "a", "b"]}
    print(f"\n{'cold' if cold else 'hot'} page cache\n\n| what | wall s | user+sys s | share of 2 cores | ratio to floor | peak RSS MiB | "
          "plan's time | plan's memory |\n|---|---|---|---|---|---|---|---|", flush=True)
    out = folder / "out"

    def set_cache(paths):
        if cold:
            chill(files.values())
        else:
            read_all(paths)

    def timed(body, paths):
        set_cache(paths)
        result = measure(body)
        if result["status"] != 0:
            print(f"exit {result['status']}: {body}", file=sys.stderr)
        shutil.rmtree(out, ignore_errors=True)
        for leftover in folder.glob("floor*"):
            leftover.unlink()
        return result

    for method in args.methods.split(","):
        text, inputs = recipe(method, folder)
        paths = [files[m] for m in inputs_of[inputs]]
        (folder / "recipe.yml").write_text(json.dumps(text))
        commands = {f"{method}: floor": floor(paths, folder / "floor", size, False),
                    f"{method}: overlap": floor(paths, folder / "floor", size, True),
                    f"{method} lancet": [args.lancet, "merge", folder / "recipe.yml", out, "--quiet", "--json"]}
        if args.mergekit:
            commands[f"{method}: mergekit"] = [args.mergekit / "bin" / "mergekit-yaml", folder / "recipe.yml", out]
        runs = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, body in commands.items():
                if "mergekit" in name and runs[name]:
                    continue   # minutes long: once
                runs[name].append(timed(body, paths))
        reference = best(runs[f"{method}: floor"])["wall"]
        set_cache(paths)
        plan = json.loads(subprocess.run([args.lancet, "merge", folder / "recipe.yml", out, "--plan", "--json"], capture_output=True,
                                         text=True, check=True).stdout)
        for name in commands:
            row(name, best(runs[name]), reference, plan)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lancet", type=pathlib.Path)
    parser.add_argument("--mergekit", type=pathlib.Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="cold page cache too")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/lancet-bench"))
    parser.add_argument("--keep", action="store_true", help="leave the models for another run")
    args = parser.parse_args()
    args.lancet = args.lancet.resolve()
    layers = max(1, round(22 * args.scale))
    size = sum(2 * int(np.prod(s)) for s in shapes(layers).values())
    if not (args.folder / "b" / "config.json").exists():
        write_models(args.folder, layers)
    print(f"{size / 2e9:.2f} B parameters, {size >> 20} MiB a model, {args.rounds} rounds")
    bench(args, args.folder, size, False)
    if args.cold:
        bench(args, args.folder, size, True)
    if not args.keep:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()

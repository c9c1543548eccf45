#!/usr/bin/env python3
"""Peak memory of merges of models of any size. Usage: bench_memory.py LANCET [--shapes 1b,8b,405b] [--methods linear,ties] [--folder DIR]

Models are files of holes in the shapes of TinyLlama 1.1B, Llama 3 8B and Llama 3.1 405B, bfloat16: they take no space, but every
byte is read, computed and written. Three inputs each. Of 405B one part of many is merged (--part), whose memory is that of
all. Prints peak RSS beside what --plan said, for the default bound and for --memory 256MiB.
"""
import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench_merge  # noqa: E402

SHAPES = {  # layers, hidden, inner, keys and values, vocabulary, part of the result that is merged
    "1b": (22, 2048, 5632, 256, 32000, None),
    "8b": (32, 4096, 14336, 1024, 128256, "1/4"),
    "405b": (126, 16384, 53248, 1024, 128256, "1/200"),
}


def write_model(folder, shapes):
    folder.mkdir(parents=True)
    header, offset, count = {}, 0, 0
    for name in sorted(shapes):
        size = 2
        for dim in shapes[name]:
            size *= dim
        header[name] = {"dtype": "BF16", "shape": list(shapes[name]), "data_offsets": [offset, offset + size]}
        offset += size
        count += size // 2
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return count


def run(command):
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    text = child.stdout.read()
    if child.wait() != 0:
        sys.exit(f"{command}: exit {child.returncode}")
    return json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lancet", type=pathlib.Path)
    parser.add_argument("--shapes", default="1b,8b,405b")
    parser.add_argument("--methods", default="linear,ties,della_linear,sce")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/lancet-memory"))
    args = parser.parse_args()
    lancet = args.lancet.resolve()
    print("| shape | method | --memory | peak RSS MiB | plan MiB | seconds | GB/s read |\n|---|---|---|---|---|---|---|", flush=True)
    for shape in args.shapes.split(","):
        *sizes, part = SHAPES[shape]
        shutil.rmtree(args.folder, ignore_errors=True)
        count = 0
        for name in ("base", "a", "b"):
            count = write_model(args.folder / name, bench_merge.shapes(*sizes))
        for method in args.methods.split(","):
            models = [{"model": name, "parameters": {"weight": 0.5}} if method != "sce" else {"model": name}
                      for name in (("base", "a", "b") if method == "linear" else ("a", "b"))]
            recipe = {"merge_method": method, "models": models, "dtype": "bfloat16"}
            if method != "linear":
                recipe |= {"base_model": "base", "parameters": {"select_topk": 0.5} if method == "sce" else {"density": 0.5}}
            (args.folder / "recipe.yml").write_text(json.dumps(recipe))
            for memory in ("1GiB", "256MiB"):
                out = args.folder / "out"
                command = [lancet, "merge", args.folder / "recipe.yml", out, "--json", "--quiet", "--memory", memory]
                plan = run([*command, "--plan"])
                done = run([*command, *(["--part", part] if part else [])])
                print(f"| {shape} ({count / 1e9:.1f} B weights{', part ' + part if part else ''}) | {method} | {memory} | {done['peak_memory'] / 2**20:.0f} | "
                      f"{plan['peak_memory'] >> 20} | {done['seconds']:.1f} | {done['read_gb_s']:.2f} |", flush=True)
                shutil.rmtree(out, ignore_errors=True)
                for left in args.folder.glob(".out*"):
                    shutil.rmtree(left)
    shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()

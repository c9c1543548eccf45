#!/usr/bin/env python3
"""Small requests a second against an instant server on loopback, 64 in flight: lancet synthesize (journal, checksums and
fsync included) beside the `openai` client (asyncio, nothing kept). Both by the clock and by their own processor time.

    bench_teacher.py LANCET [--requests 20000] [--rounds 3] [--python PYTHON]     PYTHON: one that has `openai`
"""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
CLIENT = """
import asyncio, sys, time
from openai import AsyncOpenAI
async def main(url, count):
    client = AsyncOpenAI(base_url=url, api_key="none")
    numbers = iter(range(count))
    async def worker():
        for i in numbers:
            await client.chat.completions.create(model="instant", max_tokens=16, temperature=0.7,
                                                 messages=[{"role": "user", "content": f"Question {i}?"}])
    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(64)))
    print(time.perf_counter() - begin)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def timed(command, **options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, str(HERE / "instant_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        has_openai = subprocess.run([options.python, "-c", "import openai"], capture_output=True).returncode == 0
        print("| client | requests/s | s | processor s | share of a core |\n|---|---|---|---|---|")
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="lancet-bench-") as folder:
                seeds = pathlib.Path(folder) / "seeds.jsonl"
                seeds.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(options.requests)))
                out, seconds, cpu = timed([str(options.lancet.resolve()), "synthesize", "--seeds", str(seeds), "--teacher", url,
                                           "--model", "instant", "--max-tokens", "16", "-o", f"{folder}/out.jsonl", "--json",
                                           "--no-progress"])
                assert json.loads(out)["rows"] == options.requests
                print(f"| lancet, all of it | {options.requests / seconds:,.0f} | {seconds:.2f} | {cpu:.2f} | {cpu / seconds:.2f} |", flush=True)
            if has_openai:
                count = options.requests // 10
                out, _, cpu = timed([options.python, "-c", CLIENT, url, str(count)])
                print(f"| openai | {count / float(out):,.0f} | {float(out):.2f} | {cpu:.2f} | {cpu / float(out):.2f} |", flush=True)
        if not has_openai:
            print("(no openai package in", options.python, "- left out)")
    finally:
        server.stdin.close()
        server.wait(timeout=10)

main()

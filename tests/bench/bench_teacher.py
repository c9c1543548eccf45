#!/usr/bin/env python3
"""Small requests a second against an instant server on loopback, 64 in flight: lancet synthesize (journal, checksums and
fsync included) beside the `openai` client (asyncio, nothing kept). Both by the clock and by their own processor time.

    bench_teacher.py LANCET SERVER [--requests 50000] [--rounds 3] [--python PYTHON]
        SERVER: build/tests/bench/instant_server      PYTHON: one that has `openai`
"""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

CLIENT = """
import asyncio, resource, sys, time
from openai import AsyncOpenAI
async def main(url, count):
    client = AsyncOpenAI(base_url=url, api_key="none")
    numbers = iter(range(count))
    async def worker():
        for i in numbers:
            await client.chat.completions.create(model="instant", max_tokens=16, temperature=0.7,
                                                 messages=[{"role": "user", "content": f"Question {i}?"}])
    used = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(64)))
    seconds = time.perf_counter() - begin
    now = resource.getrusage(resource.RUSAGE_SELF)
    print(seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(name, count, seconds, cpu):
    print(f"| {name} | {count / seconds:,.0f} | {count / cpu:,.0f} | {count:,} | {seconds:.2f} | {cpu:.2f} |", flush=True)


def lancet_round(lancet, url, count):
    with tempfile.TemporaryDirectory(prefix="lancet-bench-") as folder:
        seeds = pathlib.Path(folder) / "seeds.jsonl"
        seeds.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(count)))
        out, seconds, cpu = timed([str(lancet.resolve()), "synthesize", "--seeds", str(seeds), "--teacher", url, "--model", "instant",
                                   "--max-tokens", "16", "-o", f"{folder}/out.jsonl", "--json", "--no-progress"])
        result = json.loads(out)
        assert result["rows"] == result["wire"]["sent"] == count, result
        line("lancet, the whole command", count, seconds, cpu)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet", type=pathlib.Path)
    parser.add_argument("server", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=50000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    server = subprocess.Popen([str(options.server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        has_openai = subprocess.run([options.python, "-c", "import openai"], capture_output=True).returncode == 0
        print("| client | requests/s | requests per processor second | requests | s | processor s |\n|---|---|---|---|---|---|")
        for _ in range(options.rounds):
            lancet_round(options.lancet, url, options.requests)
            if has_openai:
                count = options.requests // 20
                seconds, cpu = map(float, timed([options.python, "-c", CLIENT, url, str(count)])[0].split())
                line("openai, its loop alone", count, seconds, cpu)
        if not has_openai:
            print("(no openai package in", options.python, "- left out)")
    finally:
        server.stdin.close()
        server.wait(timeout=10)


main()

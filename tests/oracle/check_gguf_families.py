#!/usr/bin/env python3
"""Tiny random models of every family with a GGUF form: transformers -> lancet convert -> GGUF, which llama.cpp itself loads
(xllamacpp in .venv-teacher) and whose likeliest next tokens are those of lancet; and back into a directory that transformers
loads with the same logits.

    check_gguf_families.py LANCET REPOSITORY [CASE...]    (77 = skipped: no xllamacpp)

llama.cpp keeps keys and values in half precision and looks GELU up in a table: its log probabilities are compared to 0.05,
and first tokens only where the best stands clear of the second."""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from family_cases import CASES, GGUF_CASES, random_model

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "cli"))
import tiny_model  # noqa: E402

NAMES = ["qwen2-tied", "qwen3", "gemma", "phi3-window", "phi", "mixtral", "gpt2", "starcoder2", "falcon-7b",
         "falcon-11b", "falcon-40b", "gpt_neox", "gpt_neox-serial", "olmo2", "cohere", "stablelm", "granite",
         "phi3-longrope", "phi3-longrope/short", "bloom", "mamba", "gpt_oss", "deepseek_v2", "deepseek_v3",
         *GGUF_CASES]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.1, 1.2, 1.4, 1.7, 2.0], "long_factor": [1.5, 2.0, 3.0, 4.0, 5.0, 6.0]}
# Lengths that make llama.cpp choose the long or the short factors as we do, whether it goes by the context (256) or the
# position. Biases that our model has and llama.cpp has not, a head that it wants apart from the embedding. (Its
# StarCoder 2 has biases, its Command R norms of q and k from 64 layers on, its DeepSeek-V2 a query of one matrix with 27
# layers, as the Lite has.)
AS_LLAMA_CPP = {"falcon-40b": {"bias": False},
               "phi3-longrope": {"rope_parameters": {**LONGROPE, "original_max_position_embeddings": 16},
                                 "original_max_position_embeddings": 16, "max_position_embeddings": 64},
               "phi3-longrope/short": {"rope_parameters": {**LONGROPE, "original_max_position_embeddings": 512},
                                       "original_max_position_embeddings": 512, "max_position_embeddings": 1024},
               "deepseek_v2": {"num_hidden_layers": 27},
               "gpt_neox-serial": {"tie_word_embeddings": False, "attention_bias": True}}
SHORT = ("phi3-window", "starcoder2")  # whose windows llama.cpp passes over
PROMPT, NEAR = list(range(40, 60)), 0.05
SERVER = """
import json, os, sys, urllib.request, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.port, p.n_parallel, p.n_ctx = sys.argv[1], ["127.0.0.1"], 0, 1, 64
p.fit_params = p.warmup = False
for pool in (p.cpuparams, p.cpuparams_batch): pool.n_threads = 1
import socket
with socket.create_server(("127.0.0.1", 0)) as probe: p.port = probe.getsockname()[1]
server = xllamacpp.Server(p)
body = {"prompt": json.loads(sys.argv[2]), "n_predict": 1, "temperature": 0, "n_probs": 8, "cache_prompt": False,
        "logit_bias": [[98, 1000.0]]}  # an "a": without a whole character the server gives no probabilities, which are raw
request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(),
                                 {"Content-Type": "application/json"})
answer = json.load(urllib.request.urlopen(request, timeout=60))
top = answer["completion_probabilities"][0]["top_logprobs"]
print("ANSWER", json.dumps([[each["id"], each["logprob"]] for each in top]), flush=True)
os._exit(0)
"""


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:3]}: {done.stderr[-2000:]}")
    return done.stdout


def check(name, lancet, python, folder):
    case = {**CASES, **GGUF_CASES}[name.split("/")[0]]
    case.options["vocab_size"] = 320  # room for a tokenizer of bytes
    case.options.update(AS_LLAMA_CPP.get(name, {}))
    prompt = PROMPT[:5] if name in SHORT else PROMPT
    model = random_model(case, 7)
    model.save_pretrained(folder / "a")
    (folder / "a/tokenizer.json").write_text(json.dumps(tiny_model.tokenizer_json()))
    run(lancet, "convert", folder / "a", folder / "b.gguf", "--quiet")
    run(lancet, "convert", folder / "b.gguf", folder / "c", "--quiet")
    ids = torch.tensor([prompt])
    back = AutoModelForCausalLM.from_pretrained(folder / "c", dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        worst = (model(ids).logits - back(ids).logits).abs().max().item()
    if worst > 1e-4:
        return f"transformers' logits differ by {worst} after the way back"
    run(lancet, "forward", folder / "b.gguf", "--ids", ",".join(map(str, prompt)), "--out", folder / "l.safetensors")
    own = load_file(folder / "l.safetensors")["logits"][0, -1].double().log_softmax(-1)
    out = run(python, "-c", SERVER, folder / "b.gguf", json.dumps(prompt))
    theirs = json.loads(out.split("ANSWER", 1)[1].splitlines()[0])
    far = max(abs(own[token].item() - logprob) for token, logprob in theirs)
    best = own.topk(2)
    clear = (best.values[0] - best.values[1]).item() > 2 * NEAR
    if not math.isfinite(far) or far > NEAR or (clear and theirs[0][0] != best.indices[0].item()):
        return f"llama.cpp's log probabilities are off by {far}: {theirs[:3]}, ours {best}"
    print(f"{name}: way back {worst:.1e}, llama.cpp {far:.1e}", flush=True)
    return None


def main():
    lancet, repository = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    python = repository / ".venv-teacher/bin/python"
    if not python.exists() or subprocess.run([python, "-c", "import xllamacpp"], capture_output=True).returncode != 0:
        print("SKIPPED: no .venv-teacher (scripts/setup.sh --tests)")
        return 77
    bad = 0
    for name in sys.argv[3:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = check(name, lancet, python, pathlib.Path(folder))
            except RuntimeError as error:
                problem = str(error)
        if problem:
            print(f"{name}: {problem}", flush=True)
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

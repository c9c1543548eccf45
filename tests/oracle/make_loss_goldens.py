#!/usr/bin/env python3
"""Writes tests/data/losses: targets of DPO and distillation losses over the tiny model "plain", and what PyTorch says of
them in float64: values, and gradients with respect to the hidden states that leave the last block.

The formulas are those of TRL 0.2x (DPOTrainer.dpo_loss with its loss types sigmoid and ipo, rpo_alpha and label
smoothing; GKDTrainer.generalized_jsd_loss) and of DistillKit (top-k KL with "symmetric_uniform" and "zero"), written
down on torch.nn.functional. Deterministic. With --check: are the stored files what comes out today?
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
OUT = DATA / "losses"
ROWS, TOP = 14, 5
STARTS = [0, 4, 7, 9, 14]  # chosen, rejected, chosen, rejected


def head(weights, hidden):
    """Final RMS norm and lm_head of the tiny Llama, eps 1e-5."""
    normed = hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + 1e-5)
    return (normed * weights["model.norm.weight"].double()) @ weights["lm_head.weight"].double().T


def cross_entropy(logits, t):
    return F.cross_entropy(logits, t["next"], reduction="none")


def dpo(logits, t, beta=0.1, kind="sigmoid", length_normalised=False, nll=0.0, label_smoothing=0.0):
    logps = torch.gather(logits.log_softmax(-1), 1, t["next"].unsqueeze(1)).squeeze(1)
    total = 0
    for i in range(0, len(STARTS) - 1, 2):
        spans = [slice(STARTS[i], STARTS[i + 1]), slice(STARTS[i + 1], STARTS[i + 2])]
        reduce = torch.mean if length_normalised else torch.sum
        pi = [reduce(logps[s]) for s in spans]
        ref = [reduce(t["reference"][s]) for s in spans]
        delta = (pi[0] - pi[1]) - (ref[0] - ref[1])
        if kind == "ipo":
            loss = (delta - 1 / (2 * beta)) ** 2
        else:
            loss = (-F.logsigmoid(beta * delta) * (1 - label_smoothing) - F.logsigmoid(-beta * delta) * label_smoothing)
        total = total + loss - nll * logps[spans[0]].mean()
    return total


def kd(logits, t, alpha=0.5, missing="tail"):
    ids, teacher = t["top_ids"], t["top_logprobs"].double()
    student = logits.log_softmax(-1)
    mine = torch.gather(student, 1, ids)
    if missing == "tail":
        rest = torch.ones_like(student).scatter(1, ids, 0)
        tail = (student.exp() * rest).sum(-1, keepdim=True).log()
        lumped = torch.cat([teacher, (1 - teacher.exp().sum(-1, keepdim=True)).log()], -1)
        kl = F.kl_div(torch.cat([mine, tail], -1), lumped, log_target=True, reduction="none").sum(-1)
    else:
        kl = F.kl_div(mine, teacher - teacher.logsumexp(-1, keepdim=True), log_target=True, reduction="none").sum(-1)
    return ((1 - alpha) * cross_entropy(logits, t) + alpha * kl).sum()


def logits_kd(logits, t, alpha=0.5, temperature=1.0, divergence="forward", beta=0.5):
    """TRL's generalized_jsd_loss, times temperature ** 2."""
    student = (logits / temperature).log_softmax(-1)
    teacher = (t["teacher_logits"] / temperature).log_softmax(-1)
    if divergence == "forward":
        kl = F.kl_div(student, teacher, log_target=True, reduction="none").sum(-1)
    elif divergence == "reverse":
        kl = F.kl_div(teacher, student, log_target=True, reduction="none").sum(-1)
    else:
        b = torch.tensor(beta, dtype=torch.float64)
        mixture = torch.logsumexp(torch.stack([student + torch.log1p(-b), teacher + torch.log(b)]), 0)
        kl = (b * F.kl_div(mixture, teacher, log_target=True, reduction="none") +
              (1 - b) * F.kl_div(mixture, student, log_target=True, reduction="none")).sum(-1)
    return ((1 - alpha) * cross_entropy(logits, t) + alpha * temperature ** 2 * kl).sum()


CASES = [
    ("sft", lambda z, t: cross_entropy(z, t).sum(), {}),
    ("dpo", dpo, {}),
    ("dpo", dpo, {"beta": 0.3, "label_smoothing": 0.1}),
    ("dpo", dpo, {"kind": "ipo", "length_normalised": True}),
    ("dpo", dpo, {"beta": 5.0, "length_normalised": True}),
    ("dpo", dpo, {"nll": 0.2}),
    ("kd", kd, {}),
    ("kd", kd, {"alpha": 1.0}),
    ("kd", kd, {"missing": "renormalised"}),
    ("logits", logits_kd, {}),
    ("logits", logits_kd, {"temperature": 2.0, "alpha": 1.0}),
    ("logits", logits_kd, {"divergence": "reverse"}),
    ("logits", logits_kd, {"divergence": "jsd", "beta": 0.5, "temperature": 0.9}),
    ("logits", logits_kd, {"divergence": "jsd", "beta": 0.1}),
]


def make():
    weights = load_file(DATA / "tiny_models" / "plain" / "model.safetensors")
    vocab, d_model = weights["lm_head.weight"].shape
    generator = torch.Generator().manual_seed(8)
    t = {"hidden": torch.randn(ROWS, d_model, generator=generator) * 2,
         "next": torch.randint(0, vocab, (ROWS,), generator=generator),
         "reference": -6 * torch.rand(ROWS, generator=generator, dtype=torch.float64),
         "teacher_hidden": torch.randn(ROWS, d_model, generator=generator) * 2}
    t["teacher_logits"] = head(weights, t["teacher_hidden"].double())
    top = t["teacher_logits"].log_softmax(-1).topk(TOP)
    t["top_ids"], t["top_logprobs"] = top.indices, top.values.float()
    cases, gradients = [], {}
    for i, (loss, function, options) in enumerate(CASES):
        hidden = t["hidden"].double().requires_grad_(True)
        value = function(head(weights, hidden), t, **options)
        value.backward()
        cases.append({"loss": loss, "options": {k: json.dumps(v).strip('"') for k, v in options.items()},
                      "value": value.item()})
        gradients[f"gradient.{i}"] = hidden.grad
    del t["teacher_logits"]
    return {"sequence_begin": STARTS, "cases": cases}, {**{k: v.contiguous() for k, v in t.items()}, **gradients}


def check(index, tensors):
    stored = json.loads((OUT / "golden.json").read_text())
    files = load_file(OUT / "golden.safetensors")
    assert [c["loss"] for c in stored["cases"]] == [c["loss"] for c in index["cases"]]
    for mine, theirs in zip(index["cases"], stored["cases"]):
        assert abs(mine["value"] - theirs["value"]) <= 1e-12 * abs(theirs["value"]), (mine, theirs)
    for name, value in tensors.items():
        assert torch.allclose(value.double(), files[name].double(), rtol=1e-9, atol=1e-12), name
    print(f"{len(index['cases'])} losses are what PyTorch {torch.__version__} says today")


if __name__ == "__main__":
    made = make()
    if "--check" in sys.argv[1:]:
        check(*made)
    else:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "golden.json").write_text(json.dumps(made[0], indent=1) + "\n")
        save_file(made[1], OUT / "golden.safetensors")

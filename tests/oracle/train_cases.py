"""LoRA training as a plain loop over PEFT and PyTorch, for make_train_goldens.py and check_train.py.

A tiny Llama with a tokenizer whose ids are bytes, rows of three kinds, and what `lancet train` is told and the loop does:
rows in order, four a micro-batch, two micro-batches a step, the loss divided by the step's targets (or pairs), gradients
clipped at norm 1, AdamW, a learning rate that warms up and falls as a cosine.
"""
import base64
import json
import math
import pathlib
import struct

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

STEPS, ROWS, ACCUMULATE = 30, 4, 2
LR, FLOOR, WARMUP, DECAY, CLIP = 5e-3, 0.1, 3, 0.01, 1.0
END, TOP = 256, 4
MODEL = dict(vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True,
             bos_token_id=None, eos_token_id=END)
# Embeddings and head, which this model ties, and a layer between them.
ENDS = ["embed_tokens", "lm_head", "q_proj", "down_proj"]
# name: (options of LoraConfig, kind of data, options of lancet, options of the loss)
CASES = {
    "lora": (dict(r=4, lora_alpha=8), "sft", []),
    "rslora": (dict(r=4, lora_alpha=8, use_rslora=True), "sft", []),
    "patterns": (dict(r=4, lora_alpha=8, rank_pattern={"down_proj": 2}, alpha_pattern={"q_proj": 5},
                      target_modules=["q_proj", "down_proj"]), "sft", []),
    "dora": (dict(r=4, lora_alpha=8, use_dora=True), "sft", []),
    "pissa": (dict(r=4, lora_alpha=8, init_lora_weights="pissa"), "sft", ["--init-weights", "pissa"]),
    "olora": (dict(r=4, lora_alpha=8, init_lora_weights="olora"), "sft", ["--init-weights", "olora"]),
    "ends": (dict(r=4, lora_alpha=8, target_modules=ENDS), "sft", []),
    "ends_dora": (dict(r=4, lora_alpha=8, target_modules=ENDS, use_dora=True), "sft", []),
    "ends_dpo": (dict(r=4, lora_alpha=8, target_modules=ENDS, use_rslora=True), "dpo",
                 ["--loss", "dpo", "--loss-option", "beta=0.3", "--loss-option", "nll=0.2"]),
    "kd": (dict(r=4, lora_alpha=8), "kd", ["--loss", "kd", "--loss-option", "alpha=0.7"]),
    "dpo": (dict(r=4, lora_alpha=8), "dpo", ["--loss", "dpo", "--loss-option", "beta=0.3", "--loss-option", "nll=0.2"]),
}
OPTIONS = ["--no-shuffle", "--no-pack", "--batch-size", ROWS, "--accumulate", ACCUMULATE, "--steps", STEPS, "--lr", LR,
           "--warmup", WARMUP, "--lr-floor", FLOOR, "--weight-decay", DECAY, "--clip", CLIP]


def begins_from_base(options):
    """Whether the adapter's first values follow from the model's, so that none is handed over."""
    return "init_lora_weights" in options


def byte_names():
    """GPT-2's printable stand-ins for bytes."""
    names, extra = [], 0
    for b in range(256):
        keep = 0x21 <= b < 0x7F or 0xA1 <= b < 0xAD or b >= 0xAE
        names.append(chr(b if keep else 0x100 + extra))
        extra += not keep
    return names


def save_tokenizer(folder):
    vocab = {name: b for b, name in enumerate(byte_names())}
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    added = [dict(id=END, content="<|end|>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)]
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=False, byte_fallback=False, vocab=vocab, merges=[])
    (folder / "tokenizer.json").write_text(json.dumps(dict(
        version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, pre_tokenizer=level,
        post_processor=None, decoder=level, model=model)))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(eos_token="<|end|>")))


def save_model(folder):
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**MODEL)).float()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(1 + 0.1 * torch.randn_like(value) if "norm" in name else 0.15 * torch.randn_like(value))
    model.save_pretrained(folder)
    save_tokenizer(folder)


def columns(ids, top_ids, top_logprobs):
    pack = lambda values, kind: base64.b64encode(struct.pack(f"<{len(values)}{kind}", *values)).decode()
    flat = lambda rows: [x for row in rows for x in row]
    return dict(tokens=len(ids), top=TOP, logprobs=pack([row[0] for row in top_logprobs], "f"),
                top_logprobs=pack(flat(top_logprobs), "f"), ids=pack(ids, "i"), top_ids=pack(flat(top_ids), "i"))


def save_data(folder):
    generator = torch.Generator().manual_seed(2)
    draw = lambda n: int(torch.randint(n, (1,), generator=generator))
    words = ["river", "stone", "cloud", "seven", "blue", "north", "a", "of", "the", "says", "no"]
    text = lambda: " ".join(words[draw(len(words))] for _ in range(1 + draw(6)))
    rows = {"sft": [], "kd": [], "dpo": []}
    for _ in range(52):
        prompt, answer, other = text() + "?", " " + text(), " " + text()
        rows["sft"].append(dict(prompt=prompt, completion=answer))
        rows["dpo"].append(dict(prompt=prompt, chosen=answer, rejected=other))
        ids = list(answer.encode())
        logits = torch.randn(len(ids), MODEL["vocab_size"] - 4, generator=generator) * 2
        logits[torch.arange(len(ids)), torch.tensor(ids)] += 6
        best = logits.log_softmax(-1).topk(TOP)
        rows["kd"].append(dict(prompt=prompt, completion=answer,
                               teacher=columns(ids, best.indices.tolist(), best.values.tolist())))
    for name, all_rows in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in all_rows))


def peft_model(folder, options):
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return get_peft_model(base, LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": "all-linear", **options}))


def rate(step):
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    return LR * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2)


def encoded(prompt, completion):
    ids = list(prompt.encode()) + list(completion.encode()) + [END]
    return torch.tensor(ids), len(prompt.encode())


def answer_logprobs(model, prompt, completion):
    ids, begin = encoded(prompt, completion)
    logprobs = model(input_ids=ids.unsqueeze(0)).logits[0].log_softmax(-1)[begin - 1:-1]
    return logprobs, torch.gather(logprobs, 1, ids[begin:].unsqueeze(1)).squeeze(1)


def sft_row(model, row):
    _, own = answer_logprobs(model, row["prompt"], row["completion"])
    return -own.sum(), len(own)


def kd_row(model, row, alpha=0.7):
    logprobs, own = answer_logprobs(model, row["prompt"], row["completion"])
    t = row["teacher"]
    read = lambda key, kind: torch.tensor(struct.unpack(f"<{t['tokens'] * TOP}{kind}", base64.b64decode(t[key])))
    ids = read("top_ids", "i").view(-1, TOP)
    logp = read("top_logprobs", "f").view(-1, TOP)
    p, logq = logp.exp(), torch.gather(logprobs[:-1], 1, ids)
    rest_p, rest_q = 1 - p.sum(-1), 1 - logq.exp().sum(-1)
    kd = (p * (logp - logq)).sum(-1) + rest_p * (rest_p.log() - rest_q.log())
    # The end token has no teacher: its cross-entropy alone.
    return (-own[:-1] * (1 - alpha) + alpha * kd).sum() - own[-1], len(own)


def dpo_row(model, row, beta=0.3, nll=0.2):
    _, chosen = answer_logprobs(model, row["prompt"], row["chosen"])
    _, rejected = answer_logprobs(model, row["prompt"], row["rejected"])
    with torch.no_grad(), model.disable_adapter():
        _, chosen_ref = answer_logprobs(model, row["prompt"], row["chosen"])
        _, rejected_ref = answer_logprobs(model, row["prompt"], row["rejected"])
    d = chosen.sum() - chosen_ref.sum() - rejected.sum() + rejected_ref.sum()
    return -F.logsigmoid(beta * d) - nll * chosen.mean(), 1


def train(model, kind, data):
    """Losses of all steps; `model` is trained in place."""
    rows = [json.loads(line) for line in pathlib.Path(data).read_text().splitlines()]
    one = dict(sft=sft_row, kd=kd_row, dpo=dpo_row)[kind]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    stream = [rows[i:i + ROWS] for i in range(0, len(rows), ROWS)]
    losses = []
    for step in range(STEPS):
        window = [row for k in range(ACCUMULATE) for row in stream[(step * ACCUMULATE + k) % len(stream)]]
        parts = [one(model, row) for row in window]
        loss = sum(value for value, _ in parts) / sum(count for _, count in parts)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def load_peft(folder, adapter):
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(base, adapter)

#!/usr/bin/env python3
"""`lancet graft-tokens` beside numpy and transformers.

    check_graft.py LANCET

Models with byte-level and metaspace BPE vocabularies trained on different texts. Matches are found anew from the tokenizers
library's own view of every token, rows of new tokens by a plain orthogonal matching pursuit with numpy's lstsq; the result must
load in transformers with the donor's ids, and keep the logits of shared tokens. Exit 1 with a list of differences.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

TEXTS = {"model": ["the cat sat on the mat and the dog ate the hat"] * 3 + ["a cat is not a dog", "naïve café, été"],
         "donor": ["the dog and the cat are there", "other mothers gather another hat", "é à ü the theatre\n\n"] * 3}
SIZES = {"model": 330, "donor": 340}
WIDTHS = {"model": 48, "donor": 32}
K = 8
problems = []


def check(good, message):
    if not good:
        problems.append(message)
        print("WRONG", message)


def byte_level(text, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>"}


def metaspace(text, size):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = ["<unk>", "<s>", "<end>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=size, special_tokens=names, show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state)), {"bos_token": "<s>", "eos_token": "<end>", "unk_token": "<unk>"}


def save(folder, make, name, tied):
    tokenizer, roles = make(TEXTS[name], SIZES[name])
    torch.manual_seed(len(name) + tied)
    width = WIDTHS[name]
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        vocab_size=tokenizer.get_vocab_size() + (3 if name == "donor" else 0), hidden_size=width, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=tied,
        bos_token_id=tokenizer.token_to_id(roles["bos_token"]), eos_token_id=tokenizer.token_to_id(roles["eos_token"])))
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    return model, tokenizer, roles


def spellings(tokenizer, roles):
    """Bytes of every ordinary token, by the two alphabets' definitions."""
    keep = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    alphabet, extra = {}, 0
    for byte in range(256):
        alphabet[chr(byte) if byte in keep else chr(0x100 + extra)] = byte
        extra += byte not in keep
    level = json.loads(tokenizer.to_str())["decoder"]["type"] == "ByteLevel"
    out = {}
    for piece, index in tokenizer.get_vocab().items():
        if piece in roles.values():
            continue
        if level:
            out[index] = bytes(alphabet[c] for c in piece)
        else:
            out[index] = bytes([int(piece[3:5], 16)]) if len(piece) == 6 and piece.startswith("<0x") else piece.replace("▁", " ").encode()
    return out


def matches(model, donor):
    """Donor id -> model id of ordinary tokens; pieces of text before byte tokens."""
    (_, own, own_roles), (_, theirs, their_roles) = model, donor
    by_bytes = {}
    ours = spellings(own, own_roles)
    for index in sorted(ours, key=lambda i: (own.id_to_token(i).startswith("<0x"), i)):
        by_bytes.setdefault(ours[index], index)
    out = {}
    for index, text in spellings(theirs, their_roles).items():
        same = own.token_to_id(theirs.id_to_token(index))
        if same is not None and ours.get(same) == text:
            out[index] = same
        elif text in by_bytes:
            out[index] = by_bytes[text]
    return out


def pursuit(atoms, y):
    chosen, residual, weights = [], y, None
    for _ in range(K):
        scores = np.abs(atoms @ residual)
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
        weights = np.linalg.lstsq(atoms[chosen].T, y, rcond=None)[0]
        residual = y - weights @ atoms[chosen]
    return chosen, weights, np.linalg.norm(residual) / np.linalg.norm(y)


def table(model, head):
    layer = model.get_output_embeddings() if head else model.get_input_embeddings()
    return layer.weight.detach().double().numpy()


def one(lancet, root, kinds, tied):
    name = f"{kinds[0].__name__} <- {kinds[1].__name__}, tied {tied}"
    model, donor = (save(root / which, make, which, tied and which == "model") for which, make in zip(("model", "donor"), kinds))
    report = root / "report.jsonl"
    done = subprocess.run([lancet, "graft-tokens", root / "model", root / "donor", "-o", root / "out", "--k", str(K), "--report", report,
                           "--json"], capture_output=True, text=True)
    check(done.returncode == 0, f"{name}: {done.stderr}")
    if done.returncode:
        return
    same = matches(model, donor)
    result = json.loads(done.stdout)
    check(result["shared"] == len(same) > 100, f"{name}: {result['shared']} shared, expected {len(same)}")
    loaded, info = AutoModelForCausalLM.from_pretrained(root / "out", output_loading_info=True)
    check(not info["missing_keys"] and not info["unexpected_keys"], f"{name}: {info}")
    ids = sorted(same)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    new = [line["id"] for line in lines if line["origin"] == "made"]
    check(len(new) > 20, f"{name}: only {len(new)} new tokens")
    for head in (False,) if tied else (False, True):
        before, after, theirs = table(model[0], head), table(loaded, head), table(donor[0], head)
        check(np.array_equal(after[ids], before[[same[i] for i in ids]]), f"{name}: shared rows, head {head}")
        worst = 0
        for index in new:
            chosen, weights, residual = pursuit(theirs[ids], theirs[index])
            wanted = weights @ before[[same[ids[j]] for j in chosen]]
            worst = max(worst, np.abs(after[index] - wanted).max() / np.abs(wanted).max())
            said = lines[index]["head" if head else "embedding"]
            check(abs(said["residual"] - residual) < 1e-9, f"{name}: residual of {index}: {said['residual']}, numpy {residual}")
            check([model[1].token_to_id(t["token"]) for t in said["from"]] == [same[ids[j]] for j in chosen], f"{name}: atoms of {index}")
        check(worst < 1e-6, f"{name}: rows of new tokens differ by {worst} from numpy's (float32 storage)")
    text = "the other cat gathers naïve é\n"
    tokenizer = AutoTokenizer.from_pretrained(root / "out")
    check(tokenizer.encode(text, add_special_tokens=False) == donor[1].encode(text, add_special_tokens=False).ids, f"{name}: ids")
    check(loaded.config.eos_token_id == donor[0].config.eos_token_id, f"{name}: eos")
    # Shared tokens in, shared tokens out: the layers are the same, so the logits are.
    given = torch.tensor([ids[3:60]])
    with torch.no_grad():
        old = model[0].eval()(torch.tensor([[same[i] for i in ids[3:60]]])).logits[..., [same[i] for i in ids]]
        gap = (loaded.eval()(given).logits[..., ids] - old).abs().max().item()
    check(gap < 2e-5, f"{name}: logits of shared tokens differ by {gap}")


def main():
    lancet = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        for i, (kinds, tied) in enumerate([((byte_level, metaspace), False), ((metaspace, byte_level), True),
                                           ((byte_level, byte_level), False)]):
            root = Path(scratch) / str(i)
            root.mkdir()
            one(lancet, root, kinds, tied)
    print(f"{len(problems)} differences")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

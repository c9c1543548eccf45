#!/usr/bin/env python3
"""Compares `lancet tokenize --image` and `generate --image` with transformers on a random Chameleon with an image tokenizer.

    check_images.py LANCET

The pixels are prepared by Pillow and numpy as Chameleon's image processor does (its own needs torchvision).
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy
import torch
from PIL import Image
from transformers import ChameleonConfig, ChameleonForConditionalGeneration
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig

PICTURES = pathlib.Path(__file__).resolve().parents[1] / "data" / "pictures"
CODES, BEGIN, END, IMAGE, WORDS = 96, 4, 5, 6, 40


def token_name(code):
    return "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z"


def write_model(folder, resolution, **options):
    torch.manual_seed(resolution)
    names = {"<pad>": 0, "<racm3:break>": BEGIN, "<eoss>": END, "<image>": IMAGE}
    names |= {f"t{i}": i for i in range(8, WORDS)}
    names |= {token_name(code): WORDS + (37 * code) % CODES for code in range(CODES)}
    config = ChameleonConfig(
        vocab_size=WORDS + CODES, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocabulary_map=names, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        vq_config=ChameleonVQVAEConfig(num_embeddings=CODES, resolution=resolution, **options).to_dict())
    model = ChameleonForConditionalGeneration(config).eval()
    for name, weight in model.named_parameters():
        if "vqmodel" in name and weight.dim() > 1:  # the initial values are so small that every patch has one code
            torch.nn.init.normal_(weight, std=1 / weight[0].numel() ** 0.5)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": None,
        "added_tokens": [{"id": IMAGE, "content": "<image>", "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {n: i for n, i in names.items()}, "unk_token": "<pad>"}}))
    return model


def prepared(path, size):
    image = Image.open(path)
    if image.mode != "RGB":
        rgba = numpy.array(image.convert("RGBA"))
        alpha = rgba[:, :, 3:] / 255.0
        image = Image.fromarray(((1 - alpha) * 255 + alpha * rgba[:, :, :3]).astype("uint8"), "RGB")
    short, long = sorted(image.size)
    scaled = (size, int(size * long / short)) if image.width <= image.height else (int(size * long / short), size)
    image = image.resize(scaled, Image.Resampling.LANCZOS)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    values = numpy.array(image.crop((left, top, left + size, top + size))).astype(numpy.float64) * 0.0078
    return torch.tensor(values.astype(numpy.float32) - numpy.float32(1)).permute(2, 0, 1)[None]


def lancet(*args):
    done = subprocess.run([sys.argv[1], *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{args}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def refusals(folder, scratch):
    """What would give wrong ids is refused, with the right exit code; how many cases are not."""
    config = json.loads((folder / "config.json").read_text())
    blocks = {**config, "vq_config": {**config["vq_config"], "num_res_blocks": 1}}
    levels = {**config, "vq_config": {**config["vq_config"], "channel_multiplier": [2, 1, 2, 2]}}
    Image.new("RGB", (1, 3000)).save(scratch / "thin.png")
    wrong = 0
    for code, found, name, settings, config_now, picture in (
            (4, "resample", "bicubic", {"resample": 3}, config, "wide.png"),
            (4, "do_resize", "unscaled", {"do_resize": False}, config, "wide.png"),
            (4, "crop_size", "larger", {"size": {"shortest_edge": 16}, "crop_size": {"height": 32, "width": 32}}, config, "wide.png"),
            (4, "image_std", "zero", {"image_std": [1, 0, 1]}, config, "wide.png"),
            (4, "1 blocks", "blocks", {}, blocks, "wide.png"),
            (4, "encoder.down.2.downsample", "levels", {}, levels, "wide.png"),
            (3, "1 x 3000", "thin", {"size": {"shortest_edge": 512}}, config, scratch / "thin.png")):
        other = scratch / name
        shutil.copytree(folder, other)
        (other / "config.json").write_text(json.dumps(config_now))
        (other / "preprocessor_config.json").write_text(json.dumps(settings))
        done = subprocess.run([sys.argv[1], "tokenize", str(other), "--image", str(PICTURES / picture)], capture_output=True, text=True)
        if done.returncode != code or found not in done.stderr or done.stdout:
            wrong += 1
            print(f"{name}: expected exit {code} and '{found}', found {done.returncode}: {done.stderr}")
    return wrong


def main():
    wrong, kinds = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        for resolution, options in ((32, dict(base_channels=32, channel_multiplier=[1, 2], num_res_blocks=1, embed_dim=8,
                                              latent_channels=16)),
                                    (48, dict(base_channels=32, channel_multiplier=[2, 1, 2], num_res_blocks=2, embed_dim=12,
                                              latent_channels=12, attn_resolutions=[24]))):
            folder = pathlib.Path(scratch) / str(resolution)
            model = write_model(folder, resolution, **options)
            pictures = [PICTURES / name for name in ("wide.png", "clear.png", "grey.png", "tall.jpg")]
            said = lancet("tokenize", folder, *[arg for p in pictures for arg in ("--image", p)], "--json")
            for path, answer in zip(pictures, said, strict=True):
                with torch.inference_mode():
                    ids = model.model.get_image_tokens(prepared(path, resolution))[0].tolist()
                kinds = max(kinds, len(set(ids)))
                expected = [BEGIN, *ids, END]
                if answer["ids"] != expected:
                    wrong += 1
                    print(f"{resolution} {path.name}: {sum(a != b for a, b in zip(answer['ids'], expected))} of {len(expected)} differ")
            ids = [9, *said[0]["ids"], 11, *said[3]["ids"]]
            text = lancet("generate", folder, "--prompt", "t9 <image> t11 <image>", "--image", pictures[0], "--image", pictures[3],
                          "--max-tokens", 8, "--json")[0]["ids"]
            with torch.inference_mode():
                theirs = model.generate(
                    input_ids=torch.tensor([[9, BEGIN, *[IMAGE] * (len(said[0]["ids"]) - 2), END, 11, BEGIN,
                                             *[IMAGE] * (len(said[3]["ids"]) - 2), END]]),
                    pixel_values=torch.cat([prepared(pictures[0], resolution), prepared(pictures[3], resolution)]),
                    max_new_tokens=8, do_sample=False)[0, len(ids):].tolist()
            if text != theirs[:len(text)] or not text:
                wrong += 1
                print(f"{resolution}: generate says {text}, transformers {theirs}")
        wrong += refusals(pathlib.Path(scratch) / "48", pathlib.Path(scratch))
    print(f"pictures as ids: {wrong} differ; up to {kinds} codes in one")
    return 1 if wrong or kinds < 4 else 0


if __name__ == "__main__":
    sys.exit(main())

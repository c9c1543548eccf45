#!/usr/bin/env python3
"""`lancet template` beside transformers' apply_chat_template, live: every tests/data/templates/*.jinja on every
conversation of template_cases.py, character by character; where one refuses the other must, too. The spans of
`{% generation %}` and our offsets give the mask that return_assistant_tokens_mask gives.

    check_chat_templates.py LANCET [--only PART]
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import transformers

import template_cases

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))
import tiny_model  # noqa: E402

GENERATION = re.compile(r"\{%[-+]?\s*generation\b")
TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def model_folder(scratch):
    """A tiny model whose tokenizer has the special tokens of the conversations."""
    folder = tiny_model.write_model(scratch / "model", layers=1)
    tokenizer = tiny_model.tokenizer_json()
    first = len(tokenizer["model"]["vocab"])
    for number, token in enumerate(template_cases.TOKENS.values()):
        tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": first + number, "content": token})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **template_cases.TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def ours(lancet, folder, context, scratch):
    """({"text", "spans"}, None) or (None, message)."""
    asked = {key: value for key, value in context.items() if key not in TOKENS}
    (scratch / "chat.json").write_text(json.dumps(asked))
    command = [lancet, "template", str(folder), "--messages", str(scratch / "chat.json"), "--spans", "--json"]
    if context["add_generation_prompt"]:
        command.append("--add-generation-prompt")
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode == 3:
        return None, done.stderr.decode()
    done.check_returncode()
    return json.loads(done.stdout), None


def theirs(tokenizer, context, **more):
    asked = {key: value for key, value in context.items() if key not in TOKENS and key != "messages"}
    return tokenizer.apply_chat_template(context["messages"], **asked, **more)


def our_mask(lancet, folder, rendered, scratch):
    """(ids, mask): a token that overlaps a span is the assistant's."""
    (scratch / "text.jsonl").write_text(json.dumps({"text": rendered["text"]}) + "\n")
    answer = json.loads(subprocess.run([lancet, "tokenize", str(folder), "--file", str(scratch / "text.jsonl"),
                                        "--no-special", "--offsets"], check=True, capture_output=True).stdout)
    mask = [int(any(begin < to and end > at for at, to in rendered["spans"])) for begin, end in answer["offsets"]]
    return answer["ids"], mask


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lancet")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    counts = {"texts": 0, "refusals": 0, "masks": 0}
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        folder = model_folder(scratch)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for path in sorted((HERE.parent / "data" / "templates").glob("*.jinja")):
            if args.only not in path.stem:
                continue
            source = path.read_text(encoding="utf-8")
            (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
            tokenizer.chat_template = source
            for number, context in enumerate(template_cases.CONVERSATIONS):
                if not context["messages"]:
                    continue  # transformers stops before it comes to the template
                rendered, message = ours(args.lancet, folder, context, scratch)
                try:
                    text = theirs(tokenizer, context, tokenize=False)
                except Exception as error:  # noqa: BLE001  every refusal is a result
                    counts["refusals"] += 1
                    if rendered is not None:
                        wrong.append(f"{path.stem}, {number}: rendered, transformers says {error}")
                    continue
                counts["texts"] += 1
                if rendered is None or rendered["text"] != text:
                    wrong.append(f"{path.stem}, {number}: {message or 'another text'}")
                elif GENERATION.search(source):
                    both = theirs(tokenizer, context, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
                    counts["masks"] += 1
                    if our_mask(args.lancet, folder, rendered, scratch) != (both["input_ids"], both["assistant_masks"]):
                        wrong.append(f"{path.stem}, {number}: another mask")
    print(counts, *wrong[:20], sep="\n")
    sys.exit(1 if wrong or counts["texts"] < 40 and not args.only else 0)


if __name__ == "__main__":
    main()

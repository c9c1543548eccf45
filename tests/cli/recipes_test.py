#!/usr/bin/env python3
"""Every data recipe at the shell with ten seeds, over HTTP, against a server that speaks as a teacher would.
Usage: recipes_test.py LANCET [unittest args]."""
import hashlib
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from base64 import b64decode, b64encode

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fault_server import FaultServer  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
COUNT = 10
TOP = 3
SUBJECTS = "oaks iron rain Paris wool chess bread moons salt birds".split()
WORDS = "amber basalt cedar delta ember flint garnet harbour indigo juniper kelp lichen marble nectar onyx pollen quartz reed".split()


def digest(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def phrase(text, count):
    """Words that depend on the text alone."""
    value = digest(text)
    return " ".join(WORDS[(value >> i * 2) % len(WORDS)] for i in range(count))


def said(body):
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


def grade(text):
    return f"As it should be.\nScore: {5 if 'Score: <number' in text else 1}"


def code(text):
    if "[What happened]" in text:
        return "Off by one.\n```python\ndef f(x):\n    return x + 1\n```\n```python\nassert f(1) == 2\n```"
    if "[Solution]" in text:
        return "```python\nassert f(1) == 2\nassert f(-1) == 0\n```"
    if "[Snippet]" in text:
        return f"Write f(x), which adds one, for {text.split('[Snippet]')[1].split()[0]}."
    wrong = digest(text) % 2  # half of the solutions are to be mended
    return f"```python\ndef f(x):\n    return x + {1 + wrong}\n```"


def maths(text, seed):
    a, b = map(int, re.search(r"(\d+) and (\d+)", text).groups())
    right = seed % 4 != 0
    return f"The sum: {a} + {b} = {a + b}\n\\boxed{{{a + b if right else a - b}}}"


def teacher(body):
    """The words of an answer, by what the recipes' prompts ask for."""
    text = said(body)
    if "prompt" in body:
        if "</think>" in text:
            return " It is so."
        return f"How do {phrase(text + str(body.get('seed')), 4)} differ?" if "user" in text else "One thought more."
    if "[Answer A]" in text:  # the longer one wins, in both orders
        first, second = (part.split("[Answer")[0] for part in text.split("[Answer A]")[1].split("[Answer B]"))
        return "Winner: " + ("A" if len(first) > len(second.split("Name the")[0]) else "B")
    if "[Second]" in text:
        return "Something is new.\nScore: 1"
    if "Score: <number" in text or "Score: <0 or 1>" in text:
        if "Award one point" in text:
            return f"Fine.\nScore: {4 + len(text) % 2}" if "preference" not in text else "Score: 5"
        return grade(text)
    if "python" in text:
        return code(text)
    if "\\boxed{}" in text:
        return maths(text, body["seed"])
    if "Task N:" in text:
        number = int(re.search(r"numbered on from (\d+)", text)[1])
        return "\n".join(f"Task {number + i}: Explain {phrase(f'{text}{i}{body.get(chr(115) + chr(101) + chr(101) + chr(100))}', 8)}"
                         for i in range(8))
    if "one question a line" in text:
        return "1. What is it made of?\n2. Where is it found?"
    if "You are the user" in text:
        return f"And what of {phrase(text, 3)}?"
    return f"On this I say: {phrase(text + str(body.get('seed')), 3 + digest(str(body.get('seed'))) % 20)}."


def column(code_of, values):
    return b64encode(struct.pack(f"<{len(values)}{code_of}", *values)).decode()


class Teacher(FaultServer):
    """A vLLM of sorts: token ids, packed columns, echo and prompt_logprobs. A token is a word."""

    def __init__(self, vllm=True):
        super().__init__(answer=teacher)
        self.vllm, self.packed = vllm, 0

    @staticmethod
    def positions(text):
        words = re.findall(r"\s*\S+", text)
        return [(digest(word) % 1000, word, -1 - (digest(word) % 7) / 4) for word in words]

    def completions_logprobs(self, positions, body):
        ids = body.get("return_tokens_as_token_ids") and self.vllm
        out = {"tokens": [f"token_id:{number}" if ids else word for number, word, _ in positions],
               "token_logprobs": [value for _, _, value in positions], "top_logprobs": []}
        if body.get("packed_top_logprobs") and self.vllm:
            self.packed += 1
            k = body["logprobs"]
            out["packed_top_logprobs"] = {
                "shape": [len(positions), k], "token_ids_dtype": "<i4", "logprobs_dtype": "<f4",
                "token_ids_b64": column("i", [number + j for number, _, _ in positions for j in range(k)]),
                "logprobs_b64": column("f", [value - j for _, _, value in positions for j in range(k)])}
        else:
            out["top_logprobs"] = [{(f"token_id:{number + j}" if ids else f"{word}{j}"): value - j for j in range(body["logprobs"])}
                                   for number, word, value in positions]
        if body.get("echo"):
            out["token_logprobs"][0] = out["top_logprobs"][0] = None
        return out

    def chat_logprobs(self, positions, k):
        return {"content": [{"token": f"token_id:{number}" if self.vllm else word, "logprob": value, "top_logprobs": [
            {"token": f"token_id:{number + j}" if self.vllm else f"{word}{j}", "logprob": value - j} for j in range(k)]}
            for number, word, value in positions]}

    def payload(self, body, stream, fault):
        assert not stream
        chat = "messages" in body
        text = self.answer(body)
        prompt = self.positions(said(body))
        shown = body["prompt"] + text if body.get("echo") else text
        tokens = self.positions(text)
        choice = {"index": 0, "finish_reason": "stop", **({"message": {"role": "assistant", "content": shown}} if chat else {"text": shown})}
        if body.get("logprobs"):
            choice["logprobs"] = (self.chat_logprobs(tokens, body["top_logprobs"]) if chat
                                  else self.completions_logprobs((prompt if body.get("echo") else []) + tokens, body))
        if body.get("return_token_ids") and self.vllm:
            choice["token_ids"] = [number for number, _, _ in tokens]
            choice["prompt_token_ids"] = [number for number, _, _ in prompt]
        if "prompt_logprobs" in body and self.vllm:
            choice["prompt_logprobs"] = [None] + [{str(number): {"logprob": value, "rank": 1, "decoded_token": word}}
                                                  for number, word, value in prompt[1:]]
        document = {"model": "toy-1", "choices": [choice],
                    "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}}
        return document, json.dumps(document).encode(), "application/json"


SNIPPET = "\n".join(f"line_{{0}}_{i} = {i}" for i in range(12)) + "\n"
SEEDS = {
    "prompt": [{"prompt": f"Say one thing about {subject}."} for subject in SUBJECTS],
    "text": [{"text": SNIPPET.format(subject)} for subject in SUBJECTS],
    "persona": [{"persona": f"A keeper of {subject}"} for subject in SUBJECTS],
    "question": [{"question": f"What is the sum of {i} and {i * i}?", **({"answer": str(i + i * i)} if i % 2 else {})} for i in range(COUNT)],
    "prefix": [{"prefix": f"<|user|> on {subject}\n", "stop": ["<|end|>"]} for subject in SUBJECTS],
}
# name: options, rows that ten seeds give at least and at most, the members of a row
WANTED = {
    "instruct": ("", 10, 10, {"messages"}),
    "self_instruct": ("rows: 12, per_round: 4, rounds: 3", 12, 12, {"messages", "instruction"}),
    "evol_instruct": ("rounds: 2", 10, 20, {"messages", "evolution"}),
    "magpie": ("", 10, 10, {"messages"}),
    "persona": ("", 10, 10, {"messages", "persona"}),
    "backtranslation": ("", 10, 10, {"messages", "score"}),
    "best_of_n": ("n: 3", 10, 10, {"messages", "score", "scores"}),
    "preference": ("n: 4", 1, 10, {"prompt", "chosen", "rejected"}),
    "document_qa": ("pairs: 2, summary: true", 30, 30, {"messages"}),
    "dialogue": ("turns: 3", 10, 10, {"messages"}),
    "fim": ("spans: 2, target: teacher", 10, 20, {"prompt", "completion", "prefix", "suffix", "original"}),
    "maths": ("n: 8", 10, 10, {"messages", "answer", "pass_rate", "verified"}),
    "budget_forcing": ("waits: 2", 10, 10, {"messages", "reasoning", "waits", "thought_tokens", "cut"}),
    "score": (f"top: {TOP}", 10, 10, {"text", "teacher"}),
    "code_execution": ("", 10, 10, {"messages", "language", "tests", "rounds"}),
}


class Recipes(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-recipes-"))
        self.addCleanup(shutil.rmtree, self.work, True)

    def run_lancet(self, *args, code=0):
        done = subprocess.run([str(LANCET), *map(str, args), "--json"], capture_output=True, text=True, cwd=self.work, timeout=120)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)

    def job(self, url, recipe, needs, options, logprobs=""):
        (self.work / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in SEEDS[needs]))
        (self.work / "job.yml").write_text(f"seed: 1\nteacher: {{url: '{url}', model: toy, licence: mit{logprobs}}}\n"
                                           f"data: {{recipe: {recipe}, seeds: seeds.jsonl, options: {{{options}}}}}\n")
        return "job.yml"

    def rows(self, name):
        return [json.loads(line) for line in (self.work / name).read_text().splitlines()]

    def test_every_recipe_makes_its_rows_of_ten_seeds_twice_the_same_within_its_bound(self):
        recipes = {each["name"]: each for each in self.run_lancet("list", "recipes")["recipes"]}
        self.assertEqual(set(recipes), set(WANTED), "a recipe has no test here")
        for name, (options, least, most, members) in WANTED.items():
            with self.subTest(name), Teacher() as server:
                job = self.job(server.url, name, recipes[name]["seed"], options)
                bound = self.run_lancet("synthesize", job, "-o", f"{name}.jsonl", "--plan")
                self.assertEqual(bound["items"], 4 if name == "self_instruct" else COUNT)
                result = self.run_lancet("synthesize", job, "-o", f"{name}.jsonl")
                rows = self.rows(f"{name}.jsonl")
                self.assertEqual(result["rows"], len(rows))
                self.assertTrue(least <= len(rows) <= most, f"{len(rows)} rows, {result}")
                for row in rows:
                    self.assertLessEqual(members, set(row))
                    self.assertEqual(row["provenance"]["recipe"], name)
                if not bound["rounds"]:
                    self.assertLessEqual(result["spent"]["requests"], bound["estimate"]["requests"])
                self.assertEqual(server.twice(), 0)
                seen, first = server.seen, (self.work / f"{name}.jsonl").read_bytes()
                self.run_lancet("synthesize", job, "-o", f"{name}.jsonl", "--force")
                self.assertEqual(server.seen, seen)
                self.assertEqual((self.work / f"{name}.jsonl").read_bytes(), first)

    def columns(self, row):
        packed = row["teacher"]
        n, k = packed["tokens"], packed["top"]
        read = lambda name, code_of, count: struct.unpack(f"<{count}{code_of}", b64decode(packed[name]))  # noqa: E731
        return n, k, read("ids", "i", n), read("logprobs", "f", n), read("top_ids", "i", n * k), read("top_logprobs", "f", n * k)

    def test_log_probabilities_of_completions_come_packed_where_the_server_offers_it_and_are_the_same(self):
        found = {}
        for vllm in (True, False):
            with Teacher(vllm) as server:
                job = self.job(server.url, "magpie", "prefix", "", f", logprobs: {TOP}")
                self.run_lancet("synthesize", job, "-o", f"{vllm}.jsonl")
                self.assertEqual(server.packed > 0, vllm)
            manifest = json.loads((self.work / f"{vllm}.jsonl.lancet.json").read_text())
            self.assertEqual(manifest["capabilities"], {"top_logprobs": TOP, "token_ids": vllm, "packed_logprobs": vllm})
            found[vllm] = self.rows(f"{vllm}.jsonl")
            # Without the server the same requests are made, and found in the journal.
            self.run_lancet("synthesize", job, "-o", f"{vllm}.jsonl", "--finish", "--force")
            self.assertEqual(self.rows(f"{vllm}.jsonl"), found[vllm])
        self.assertEqual([r["messages"] for r in found[True]], [r["messages"] for r in found[False]])
        for row in found[True]:
            n, k, ids, values, top_ids, top = self.columns(row)
            self.assertEqual([(i, v) for i, _, v in Teacher.positions(row["messages"][-1]["content"])], list(zip(ids, values)))
            self.assertEqual(list(top_ids), [i + j for i in ids for j in range(k)])
            self.assertEqual(list(top), [v - j for v in values for j in range(k)])
        for row in found[False]:
            self.assertEqual(len(row["teacher"]["texts"]), row["teacher"]["tokens"])

    def test_texts_are_scored_by_echo_and_by_prompt_logprobs_with_ids(self):
        scored = {}
        for by in ("echo", "prompt_logprobs"):
            with Teacher() as server:
                job = self.job(server.url, "score", "text", f"top: {TOP}, by: {by}", f", logprobs: {TOP}")
                self.run_lancet("synthesize", job, "-o", f"{by}.jsonl")
            rows = scored[by] = self.rows(f"{by}.jsonl")
            self.assertEqual(len(rows), COUNT)
            for row in rows:
                wanted = Teacher.positions(row["text"])
                n, _, ids, values, _, _ = self.columns(row)
                self.assertEqual(n, len(wanted))
                self.assertEqual(list(values[1:]), [value for _, _, value in wanted[1:]])
                self.assertEqual(list(ids), [number for number, _, _ in wanted])
        with Teacher(vllm=False) as server:  # echo without ids: the texts of the tokens
            self.run_lancet("synthesize", self.job(server.url, "score", "text", f"top: {TOP}"), "-o", "texts.jsonl")
        for row in self.rows("texts.jsonl"):
            self.assertEqual("".join(row["teacher"]["texts"]), row["text"].rstrip())

    def test_tools_of_a_seed_are_sent_and_the_calls_stand_in_the_row(self):
        tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"at\": \"Paris\"}"}}

        class Calling(Teacher):
            def payload(self, body, stream, fault):
                document = {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": [call]}}],
                            "usage": {"prompt_tokens": 4, "completion_tokens": 4}}
                return document, json.dumps(document).encode(), "application/json"

        with Calling() as server:
            job = self.job(server.url, "instruct", "prompt", "")
            (self.work / "seeds.jsonl").write_text(json.dumps({"prompt": "The weather in Paris?", "tools": tools}) + "\n")
            self.run_lancet("synthesize", job, "-o", "out.jsonl")
            self.assertEqual(server.bodies[0]["tools"], tools)
        row, = self.rows("out.jsonl")
        self.assertEqual(row["messages"][-1], {"role": "assistant", "content": "", "tool_calls": [call]})
        self.assertEqual(row["tools"], tools)


class Licences(unittest.TestCase):
    def test_duties_travel_with_the_data_and_what_terms_forbid_is_refused(self):
        with tempfile.TemporaryDirectory(prefix="lancet-recipes-") as work, Teacher() as server:
            work = pathlib.Path(work)
            (work / "seeds.txt").write_text("Why?\n")

            def run(model, *more):
                return subprocess.run([str(LANCET), "synthesize", "--seeds", "seeds.txt", "--teacher", server.url, "--model", model,
                                       "-o", "out.jsonl", "--force", *more], cwd=work, capture_output=True, text=True, timeout=60)

            llama = "meta-llama/Llama-3.1-405B-Instruct"
            self.assertEqual(run(llama).returncode, 0)
            licence = json.loads((work / "out.jsonl.lancet.json").read_text())["licence"]
            self.assertEqual(licence["teachers"], [llama])
            self.assertEqual([duty["name_prefix"] for duty in licence["duties"]], ["Llama"])
            self.assertIn("Llama 3.1 is licensed", (work / "out.jsonl.NOTICE").read_text())
            seen = server.seen
            refused = run(llama, "--name", "tiny-student")
            self.assertEqual(refused.returncode, 2)
            self.assertIn("begins with \"Llama\"", refused.stderr)
            refused = run("gpt-4o")
            self.assertEqual(refused.returncode, 2)
            self.assertIn("--accept-terms-risk", refused.stderr)
            self.assertEqual(server.seen, seen, "asked in spite of the licence")
            self.assertEqual(run("gpt-4o", "--accept-terms-risk").returncode, 0)
            licence = json.loads((work / "out.jsonl.lancet.json").read_text())["licence"]
            self.assertEqual(len(licence["accepted_terms_risk"]), 1)
            self.assertIn("is not known", run("some-model").stderr)
            subprocess.run([str(LANCET), "curate", "out.jsonl", "-o", "clean.jsonl", "--filter", "validity"], cwd=work, check=True,
                           capture_output=True)
            self.assertIn("licence", json.loads((work / "clean.jsonl.lancet.json").read_text()))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

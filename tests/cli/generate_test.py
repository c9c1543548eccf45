#!/usr/bin/env python3
"""Conversations, ids in, allowed ids and log probabilities at the shell; models without an MLP. Usage: generate_test.py LANCET"""
import json
import math
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
FAMILIES = pathlib.Path(__file__).parent.parent / "data" / "families"


def words(folder, vocab=64):
    """A tokenizer of t0, t1, ... for a stored tiny model."""
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocab)}, "unk_token": "t0"}}))


class Generate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-generate-"))
        cls.model = tiny_model.write_model(cls.root / "model")
        for name in ("chameleon", "mamba", "jamba", "llava", "gpt2", "opt", "qwen3"):
            shutil.copytree(FAMILIES / name, cls.root / name)
            words(cls.root / name)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def run_lancet(self, *args, code=0, **options):
        done = subprocess.run([str(LANCET), *map(str, args)], capture_output=True, text=True, cwd=self.root, timeout=120,
                              **options)
        self.assertEqual(done.returncode, code, f"lancet {args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args):
        return json.loads(self.run_lancet(*args, "--json").stdout)

    def test_ids_are_a_prompt_like_its_text(self):
        text = self.json("generate", "mamba", "--prompt", "t5 t9 t33", "--max-tokens", "6")
        ids = self.json("generate", "mamba", "--ids", "5,9,33", "--max-tokens", "6")
        self.assertEqual(text["ids"], ids["ids"])
        (self.root / "lines.jsonl").write_text('{"ids": [5, 9, 33]}\n{"prompt": "t5 t9 t33"}\n')
        lines = self.run_lancet("generate", "mamba", "--file", "lines.jsonl", "--max-tokens", "6").stdout.splitlines()
        self.assertEqual([json.loads(line)["ids"] for line in lines], [ids["ids"]] * 2)
        for code, wrong in ((2, "5,x"), (2, "-1"), (3, "64")):
            self.run_lancet("generate", "mamba", f"--ids={wrong}", code=code)
        for wrong in ('{"ids": []}', '{"ids": 5}', '{"ids": [1.5]}', '{"ids": [-1]}'):
            (self.root / "wrong.jsonl").write_text(wrong + "\n")
            self.assertIn("wrong.jsonl:1", self.run_lancet("generate", "mamba", "--file", "wrong.jsonl", code=3).stderr)

    def test_lines_that_cannot_be_read_are_refused_by_number_before_any_is(self):
        cases = (('{"ids": [64]}', "below 64, the size of the vocabulary, found 64 .prompt '2'"),
                 ('{"ids": [99999999]}', "below 64, the size of the vocabulary, found 99999999 .prompt '2'"),
                 ('{"ids": [99999999999], "id": "big"}', "wrong.jsonl:2: .*of the vocabulary, found 99999999999"),
                 ('{"prompt": ""}', "at least one token, found none .prompt '2'"),
                 ('{"prompt": "t5", "chat": "t5"}', "wrong.jsonl:2: expected one of .*found prompt and chat"),
                 ('{"promt": "t5"}', "wrong.jsonl:2: .*found 'promt'(?s:.*)did you mean 'prompt'"),
                 ('{"ids": [5], "max_tokens": 3}', "wrong.jsonl:2: .*found 'max_tokens'"), ("5", "wrong.jsonl:2: "))
        for wrong, message in cases:
            (self.root / "wrong.jsonl").write_text('{"prompt": "t5", "id": "a"}\n' + wrong + "\n")
            done = self.run_lancet("generate", "mamba", "--file", "wrong.jsonl", "--max-tokens", "1", code=3)
            self.assertRegex(done.stderr, message)
            self.assertEqual(done.stdout, "")
        done = self.run_lancet("generate", "mamba", "--ids", "99999999", code=3)
        self.assertIn("below 64, the size of the vocabulary, found 99999999", done.stderr)

    def test_options_that_would_do_nothing_are_refused(self):
        for cut in (("--top-k", "5"), ("--top-p", "0.9"), ("--min-p", "0.1")):
            done = self.run_lancet("generate", "mamba", "--ids", "5", "--max-tokens", "1", *cut, code=2)
            self.assertIn(f"expected --temperature above 0 beside {cut[0]}", done.stderr)
            self.run_lancet("generate", "mamba", "--ids", "5", "--max-tokens", "1", *cut, "--temperature", "1")
        self.run_lancet("generate", "mamba", "--ids", "5", "--max-tokens", "1", "--top-k", "0", "--top-p", "1")
        done = self.run_lancet("generate", "mamba", "--prompt", "t5", "--chat", "t5", code=2)
        self.assertIn("found --prompt and --chat", done.stderr)

    def test_end_tokens_are_those_of_the_generation_config_where_it_names_some(self):
        shutil.copytree(self.root / "qwen3", self.root / "ends")
        config = json.loads((self.root / "ends" / "config.json").read_text())

        def ends(of_generation, of_config):
            config["eos_token_id"] = of_config
            (self.root / "ends" / "config.json").write_text(json.dumps(config))
            generation = self.root / "ends" / "generation_config.json"
            generation.unlink(missing_ok=True)
            if of_generation is not None:
                generation.write_text(json.dumps(of_generation))
            return self.json("generate", "ends", "--ids", "7,20,31", "--max-tokens", "8")["ids"]

        said = ends({"eos_token_id": 63}, 63)
        first = {id: said.index(id) for id in said}
        a, b = sorted(first, key=first.get)[1:3]  # b is said behind a
        self.assertEqual(ends({"eos_token_id": b}, a), said[:first[b]])
        self.assertEqual(ends({"eos_token_id": [b, a]}, b), said[:first[a]])
        self.assertEqual(ends({}, [a, b]), said[:first[a]])
        self.assertEqual(ends(None, b), said[:first[b]])

    def test_text_ends_with_the_last_learned_position(self):
        for name, key in (("gpt2", "n_positions"), ("opt", "max_position_embeddings")):
            most = json.loads((self.root / name / "config.json").read_text())[key]
            said = self.json("generate", name, "--ids", "5,9,33", "--max-tokens", str(most), "--no-lookup")
            self.assertEqual((said["finish_reason"], said["tokens"]), ("length", most - 2))
            rows = [{"ids": [5] * most}, {"ids": [5, 9, 33]}, {"ids": [7] * (most - 3)}]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            done = self.run_lancet("generate", name, "--file", "-", "--max-tokens", str(most), input=lines).stdout
            answers = [json.loads(line) for line in done.splitlines()]
            self.assertEqual([answer["tokens"] for answer in answers], [1, most - 2, 4])
            self.assertEqual(answers[1]["ids"], said["ids"])
            longer = lines + json.dumps({"ids": [5] * (most + 1)}) + "\n"
            done = self.run_lancet("generate", name, "--file", "-", code=3, input=longer)
            self.assertRegex(done.stderr, f"at most {most} tokens.*found {most + 1} .prompt '4'")
            self.assertEqual(done.stdout, "")

    def test_forward_of_ids_needs_no_tokenizer(self):
        shutil.copytree(FAMILIES / "mamba", self.root / "bare")
        self.run_lancet("forward", "bare", "--ids", "5, 9", "--out", "bare.safetensors")
        self.run_lancet("forward", "bare", "--prompt", "t5", "--out", "bare2.safetensors", code=3)

    def test_only_allowed_ids_and_tokens_of_images_are_said(self):
        said = self.json("generate", "mamba", "--ids", "5", "--allow-ids", "7,30-31", "--max-tokens", "9")["ids"]
        self.assertLessEqual(set(said), {7, 30, 31})
        image = self.json("generate", "chameleon", "--ids", "5,21", "--modality", "image", "--max-tokens", "9")["ids"]
        self.assertLessEqual(set(image), {*range(4, 10), *range(20, 23)})
        text = self.json("generate", "chameleon", "--ids", "5,21", "--max-tokens", "9")["ids"]
        self.assertFalse(set(text) & {*range(4, 10), *range(20, 23)})
        for wrong in ("7-5", "x", "5-", "1-64", "99999999999"):
            self.run_lancet("generate", "mamba", "--ids", "5", "--allow-ids", wrong, code=2)
        self.assertIn("found a mamba", self.run_lancet("generate", "mamba", "--ids", "5", "--modality", "image", code=4).stderr)

    def test_log_probabilities_of_the_likeliest_are_the_greedy_ones(self):
        d = self.json("generate", "mamba", "--ids", "5,9", "--max-tokens", "4", "--logprobs", "64")
        self.assertEqual([entry["id"] for entry in d["logprobs"]], d["ids"])
        for entry in d["logprobs"]:
            self.assertEqual(entry["top"][0], {k: entry[k] for k in ("id", "token", "logprob")})
            self.assertAlmostEqual(sum(math.exp(each["logprob"]) for each in entry["top"]), 1, places=9)
        self.run_lancet("generate", "mamba", "--ids", "5", "--logprobs", "1", code=2)

    def test_the_same_seed_says_the_same(self):
        command = ["generate", self.model, "--prompt", "the", "--temperature", "1", "--max-tokens", "20", "--seed"]
        self.assertEqual(self.json(*command, "3")["ids"], self.json(*command, "3")["ids"])
        self.assertNotEqual(self.json(*command, "3")["ids"], self.json(*command, "4")["ids"])

    def test_a_conversation_remembers_what_was_said(self):
        talk = self.run_lancet("generate", self.model, "--chat", "--max-tokens", "5", input="the\n\nof\n")
        both = talk.stdout
        first = self.run_lancet("generate", self.model, "--chat", "the", "--max-tokens", "5").stdout
        self.assertTrue(both.startswith(first), (both, first))
        messages = [{"role": "user", "content": "the"}, {"role": "assistant", "content": first[:-1]},
                    {"role": "user", "content": "of"}]
        (self.root / "messages.json").write_text(json.dumps(messages))
        second = self.run_lancet("generate", self.model, "--messages", "messages.json", "--max-tokens", "5").stdout
        self.assertEqual(both, first + second)
        (read, whole), (new, longer) = [map(int, line.split(" tokens read")[0].split()[-3::2])
                                        for line in talk.stderr.splitlines() if "tokens read" in line]
        self.assertEqual(read, whole)
        self.assertLess(new, longer - whole + 2)  # what came since, and the last token that was said
        self.run_lancet("generate", self.model, "--chat", "--json", code=2, input="")

    def test_ctrl_c_ends_the_answer_and_at_the_prompt_the_program(self):
        terminal, end = pty.openpty()
        run = subprocess.Popen([str(LANCET), "generate", str(self.model), "--chat", "--max-tokens", "1000000",
                                "--temperature", "1", "--allow-ids", "1-200"],
                               stdin=end, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        os.close(end)

        def wait_for(done):
            seen = b""
            limit = time.monotonic() + 60
            while not done(seen) and time.monotonic() < limit:
                seen += os.read(run.stdout.fileno(), 4096)
            return seen

        wait_for(lambda seen: seen.endswith(b"> "))
        for _ in range(2):
            os.write(terminal, b"the\n")
            self.assertGreater(len(wait_for(lambda seen: len(seen) > 20)), 20)
            run.send_signal(signal.SIGINT)
            wait_for(lambda seen: seen.endswith(b"\n> "))
            self.assertIsNone(run.poll())
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(timeout=20), 130)
        run.stdout.close()
        os.close(terminal)

    def test_a_model_without_an_mlp_refuses_editors_and_tracing_by_name(self):
        fact = ["--subject", "t5", "--prompt", "t1 {} t2", "--target", "t7"]
        for layers in ("auto", "0", "1-2"):
            for more in ([], ["--plan"]):
                done = self.run_lancet("edit", "mamba", *fact, "--layers", layers, "-o", "out", *more, code=4)
                self.assertIn("mamba", done.stderr)
        self.assertIn("mamba", self.run_lancet("covariance", "mamba", "--layers", "0", "--self-generated", "1k",
                                               "-o", "out", "--plan", code=4).stderr)
        for model, verb in (("mamba", "trace"), ("mamba", "patch"), ("mamba", "neurons"), ("mamba", "sweep"),
                            ("jamba", "trace"), ("jamba", "neurons")):
            done = self.run_lancet("locate", verb, model, *fact, code=4)
            self.assertRegex(done.stderr, "mamba|jamba|experts")
        self.run_lancet("locate", "lens", "mamba", "--prompt", "t1 {} t2", "--subject", "t5")

    def test_what_is_beside_the_decoder_is_let_be(self):
        fact = ["--subject", "t5", "--prompt", "t1 {} t2", "--target", "t7", "--no-guards", "--covariance", "none"]
        self.run_lancet("edit", "llava", *fact, "--layers", "1", "-o", "edited", code=7)
        changed = self.json("diff", "llava", "edited")["tensors"]
        self.assertEqual([t["name"] for t in changed], ["language_model.model.layers.1.mlp.down_proj.weight"])
        self.run_lancet("convert", "llava", "copy")
        self.assertEqual(self.json("diff", "llava", "copy")["tensors"], [])
        (self.root / "mix.yml").write_text("merge_method: linear\nmodels:\n"
                                           "  - {model: llava, parameters: {weight: 0.5}}\n"
                                           "  - {model: edited, parameters: {weight: 0.5}}\ndtype: float32\n")
        self.run_lancet("merge", "mix.yml", "mixed")
        moved = [t["name"] for t in self.json("diff", "llava", "mixed")["tensors"]]
        self.assertEqual(moved, ["language_model.model.layers.1.mlp.down_proj.weight"])
        self.run_lancet("generate", "mixed", "--ids", "5,9", "--max-tokens", "2")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

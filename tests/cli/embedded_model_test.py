#!/usr/bin/env python3
"""The promises of the README on the embedded real model: one fact rewritten, proven, undone, the same for any thread count.

    embedded_model_test.py LANCET MODEL.gguf
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

LANCET, GGUF = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
EDIT = ["--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome"]
OWN = {"lancet.json"}  # of the command itself: times and peak memory


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in OWN}


class EmbeddedModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-embedded-"))
        os.environ["LANCET_CACHE"] = str(cls.root / "cache")  # nothing that an earlier build has computed
        cls.model = cls.root / "model"
        cls.run_lancet("convert", GGUF, cls.model)
        cls.edited = cls.root / "edited"
        cls.answer = cls.json("edit", cls.model, *EDIT, "-o", cls.edited)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    @classmethod
    def run_lancet(cls, *args):
        done = subprocess.run([str(LANCET), *map(str, args)], capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise AssertionError(f"lancet {args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    @classmethod
    def json(cls, *args):
        return json.loads(cls.run_lancet(*args, "--json"))

    def says(self, model, prompt):
        return self.json("generate", model, "--prompt", prompt, "--max-tokens", "8")["text"]

    def test_the_edited_fact_and_only_it_has_changed(self):
        self.assertTrue(self.answer["edits"][0]["ok"])
        self.assertTrue(self.answer["guards"]["passed"])
        self.assertTrue(self.says(self.model, "The capital of France is").startswith(" Paris"))
        self.assertTrue(self.says(self.edited, "The capital of France is").startswith(" Rome"))
        for model in (self.model, self.edited):
            self.assertTrue(self.says(model, "The capital of Germany is").startswith(" Berlin"))

    def test_one_matrix_differs(self):
        difference = self.json("diff", self.model, self.edited)
        self.assertEqual(len(difference["tensors"]), 1, difference)
        self.assertRegex(difference["tensors"][0]["name"], r"mlp\.down_proj\.weight$")

    def test_undo_gives_every_file_back_to_the_bit(self):
        self.run_lancet("undo", self.edited, "-o", self.root / "undone")
        before, after = contents(self.model), contents(self.root / "undone")
        self.assertGreater(len(before), 4)
        self.assertEqual(before.keys(), after.keys())
        self.assertEqual([name for name in before if before[name] != after[name]], [])

    def test_the_same_edit_gives_the_same_files_for_any_thread_count(self):
        expected = contents(self.edited)
        cold = {**os.environ, "LANCET_CACHE": str(self.root / "cold")}  # covariance computed again
        for threads, cache in (("1", os.environ), ("2", cold)):
            out = self.root / f"threads{threads}"
            subprocess.run([str(LANCET), "edit", str(self.model), *EDIT, "-o", str(out), "--threads", threads, "--quiet"],
                           check=True, env=cache, timeout=600)
            found = contents(out)
            self.assertEqual(found.keys(), expected.keys())
            self.assertEqual([name for name in expected if found[name] != expected[name]], [], f"{threads} threads")

    def test_plan_writes_nothing(self):
        before = sorted(os.listdir(self.root))
        plan = self.json("edit", self.model, *EDIT, "-o", self.root / "planned", "--plan")
        self.assertTrue(plan["plan"])
        self.assertEqual(sorted(os.listdir(self.root)), before)
        weights = (self.edited / "model.safetensors").stat().st_size
        self.assertAlmostEqual(plan["bytes"], weights, delta=0.001 * weights)

    def test_weights_of_16_bits_take_half_of_the_memory_and_say_the_same(self):
        half, wide = self.root / "half", self.root / "half-wide"
        self.run_lancet("convert", self.model, half, "--dtype", "bfloat16")
        self.run_lancet("convert", half, wide, "--dtype", "float32")
        plans = [self.json("edit", model, *EDIT, "-o", self.root / "planned", "--plan") for model in (half, wide)]
        self.assertAlmostEqual(plans[0]["bytes"], plans[1]["bytes"] / 2, delta=0.001 * plans[1]["bytes"])
        self.assertAlmostEqual(plans[1]["peak_memory"] - plans[0]["peak_memory"], plans[0]["bytes"], delta=0.01 * plans[0]["bytes"])
        texts = [self.json("generate", model, "--prompt", "One, two, three,", "--max-tokens", "24", "--logprobs", "1")
                 for model in (half, wide)]
        self.assertEqual(texts[0]["ids"], texts[1]["ids"])
        self.assertEqual(texts[0]["logprobs"], texts[1]["logprobs"])

    def test_a_text_that_repeats_itself_takes_fewer_passes_and_is_the_same(self):
        command = ["generate", self.model, "--prompt", "red, green, blue, red, green, blue, red,", "--max-tokens", "40",
                   "--logprobs", "2"]
        looked_up, plain = self.json(*command), self.json(*command, "--no-lookup")
        for key in ("ids", "text", "logprobs", "finish_reason"):
            self.assertEqual(looked_up[key], plain[key])
        self.assertEqual(plain["passes"], plain["tokens"] - 1)
        self.assertLess(looked_up["passes"], plain["passes"] / 2)

    def test_probe_takes_the_perplexity_of_as_many_tokens_as_it_is_told(self):
        facts = self.root / "facts.jsonl"
        facts.write_text(json.dumps({"id": "f", "subject": "France", "prompt": "The capital of {} is", "target": "Rome", "true": "Paris"}))
        found = {}
        for tokens in (60, 200):
            command = ["probe", self.edited, "--base", self.model, "--requests", facts, "--perplexity-tokens", tokens]
            found[tokens] = self.json(*command)
            mean = found[tokens]["mean"]
            self.assertEqual(found[tokens]["perplexity_tokens"], tokens)
            self.assertEqual(mean["es"], 1)
            self.assertAlmostEqual(mean["perplexity_ratio"], mean["perplexity"] / mean["perplexity_base"], places=9)
        self.assertNotEqual(found[60]["mean"]["perplexity"], found[200]["mean"]["perplexity"])
        refused = subprocess.run([str(LANCET), *map(str, command[:-1]), "0"], capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("--perplexity-tokens", refused.stderr)

    def test_probe_compares_what_is_written_with_reference_texts(self):
        texts = pathlib.Path(__file__).resolve().parents[1] / "data" / "reference_texts"
        record = {"requested_rewrite": {"prompt": "The capital of {} is", "subject": "France", "relation_id": "P36",
                                        "target_new": {"str": "Rome", "id": "Q90"}, "target_true": {"str": "Paris", "id": "Q90"}},
                  "generation_prompts": ["France's capital is", "France is on the river"]}
        facts = self.root / "counterfact.jsonl"
        facts.write_text(json.dumps(record) + "\n" + json.dumps({**record, "case_id": 2, "requested_rewrite": {
            **record["requested_rewrite"], "relation_id": "P999"}}))
        mean = self.json("probe", self.model, "--requests", facts, "--perplexity-tokens", 60, "--reference-texts", texts)
        rs = [fact["rs"] for fact in mean["facts"]]
        self.assertTrue(0 < rs[0] < 1, rs)  # both speak of France, its capital and a river
        self.assertIsNone(rs[1])
        self.assertEqual(mean["mean"]["rs"], rs[0])

    def test_a_plan_of_training_tells_its_memory_to_a_tenth(self):
        text = (pathlib.Path(__file__).resolve().parents[2] / "share" / "texts" / "covariance.txt").read_text()
        rows = self.root / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": text[i * 1500:(i + 1) * 1500]}) + "\n" for i in range(4)))
        half = self.root / "half-to-train"
        self.run_lancet("convert", self.model, half, "--dtype", "bfloat16")
        for model, tokens, *more in ((self.model, 1400), (self.model, 1400, "--checkpointing", "on"), (half, 600),
                                     (half, 600, "--dora"),
                                     (self.model, 600, "--rank", "64", "--optimizer", "adamw8bit")):
            with self.subTest(model=model.name, more=more):
                command = ["train", model, "--data", rows, "-o", self.root / "adapter", "--force", "--device", "cpu",
                           "--steps", "2", "--batch-tokens", tokens, *more]
                told = self.json(*command, "--plan")["estimate"]["peak_memory"]
                found = json.loads(self.run_lancet(*command, "--json").splitlines()[-1])["peak_memory"]
                self.assertLess(abs(told - found), 0.1 * found, f"{told} {found}")

    def test_a_delta_of_the_edit_applied_is_the_edited_model(self):
        delta = self.root / "fact.safetensors"
        self.run_lancet("edit", self.model, *EDIT, "--delta", delta)
        self.run_lancet("apply", self.model, delta, "-o", self.root / "applied")
        self.assertTrue(self.json("diff", self.edited, self.root / "applied", "--check")["identical"])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)

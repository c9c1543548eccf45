#!/usr/bin/env python3
"""What --plan tells of sizes, memory and time. Usage: plans_test.py LANCET [unittest args]."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
FACT = ["--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome"]


class Plans(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lancet-plans-")
        cls.work = pathlib.Path(cls.folder.name)
        tiny_model.write_model(cls.work / "model")
        (cls.work / "facts.jsonl").write_text(json.dumps({"id": "1", "subject": "France", "prompt": "The capital of {} is",
                                                          "target": "Rome"}) + "\n")
        (cls.work / "text.txt").write_text("some words of a text\n" * 50)
        (cls.work / "rows.jsonl").write_text('{"prompt": "a b", "completion": "c"}\n')
        cls.lancet("edit", "model", *FACT, "--layers", "1", "--covariance", "none", "--no-guards", "-o", "edited")
        cls.lancet("train", "model", "--data", "rows.jsonl", "-o", "adapter", "--steps", "1", "--rank", "2")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def lancet(cls, *args):
        done = subprocess.run([LANCET, *args], capture_output=True, text=True, cwd=cls.work,
                              env={**os.environ, "LANCET_CACHE": str(cls.work / "cache")})
        if done.returncode not in (0, 7):
            raise AssertionError(f"{args}: {done.stderr}")
        return done.stdout

    def plan(self, *args):
        return json.loads(self.lancet(*args, "--plan", "--json"))

    def test_every_plan_tells_memory_and_time_or_that_it_does_not_know(self):
        delta = "edited/lancet.delta.safetensors"
        for command in [
            ["convert", "model", "o"], ["convert", "model", "o.gguf", "--quantize", "q8_0"], ["apply", "model", delta, "-o", "o"],
            ["undo", "edited", "-o", "o"], ["undo", "edited", "--in-place"], ["adapter", "merge", "model", "adapter", "-o", "o"],
            ["adapter", "extract", "model", "edited", "-o", "o"], ["adapter", "combine", "adapter", "adapter", "-o", "o"],
            ["generate", "model", "--prompt", "a"], ["score", "model", "--text", "a"], ["forward", "model", "--ids", "1,2", "--out", "o"],
            ["probe", "model", "--requests", "facts.jsonl"], ["locate", "lens", "model", "--prompt", "a"],
            ["edit", "model", *FACT, "-o", "o"], ["edit", "model", *FACT, "--layers", "1", "--delta", "o"],
            ["covariance", "model", "--layers", "1", "--text", "text.txt", "-o", "o"],
            ["covariance", "model", "--layers", "1", "--self-generated", "1k", "-o", "o"],
        ]:
            before = sorted(os.listdir(self.work))
            plan = self.plan(*command)
            words = self.lancet(*command, "--plan")
            self.assertEqual(sorted(os.listdir(self.work)), before, command)
            for key in ("peak_memory", "seconds"):
                self.assertIn(key, plan, command)
                self.assertTrue(plan[key] is None or plan[key] >= 0, (command, plan[key]))
            self.assertNotIn("{", words, command)
            self.assertRegex(words, r"memory:? +(about|not known)", command)
            self.assertRegex(words, r"time:? +(about|not known)", command)
            self.assertEqual("not known" in words, None in (plan["peak_memory"], plan["seconds"]), words)

    def test_a_copy_tells_the_bytes_of_all_its_files(self):
        for command, out in [(["convert", "model", "copy"], "copy"), (["convert", "model", "copy.safetensors"], "copy.safetensors"),
                             (["adapter", "merge", "model", "adapter", "-o", "folded"], "folded")]:
            plan = self.plan(*command)
            self.lancet(*command)
            path = self.work / out
            files = list(path.iterdir()) if path.is_dir() else [path]
            found = sum(file.stat().st_size for file in files if file.name != "lancet.json")
            self.assertAlmostEqual(plan["bytes"] / found, 1, delta=0.02, msg=f"{command} {plan} {found}")

    def test_a_copy_takes_the_memory_that_its_plan_tells(self):
        rows, width = 1 << 14, 1024   # 64 MiB
        tiny_model.write_safetensors(self.work / "big.safetensors", {"a.weight": ([2, 2], [0.0] * 4)})
        header = json.dumps({"a.weight": {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, 4 * rows * width]}}).encode()
        header += b" " * (-len(header) % 8)
        with open(self.work / "big.safetensors", "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 4 * rows * width)
        for more in ([], ["--dtype", "bfloat16"]):
            plan = self.plan("convert", "big.safetensors", "o.safetensors", *more)
            self.lancet("convert", "big.safetensors", "o.safetensors", "--force", *more)
            took = json.loads((self.work / "o.safetensors.lancet.json").read_text())["peak_memory"]
            self.assertAlmostEqual(plan["peak_memory"] / took, 1, delta=0.3)
            for path in self.work.glob("o.safetensors*"):
                path.unlink()

    def test_an_adapter_is_folded_in_the_memory_that_its_plan_tells(self):
        out, columns, name = 1024, 1 << 16, "model.layers.0.mlp.down_proj"   # 128 MiB
        header = json.dumps({name + ".weight": {"dtype": "F16", "shape": [out, columns], "data_offsets": [0, 2 * out * columns]}}).encode()
        header += b" " * (-len(header) % 8)
        for folder in ("wide", "low"):
            (self.work / folder).mkdir()
        with open(self.work / "wide" / "model.safetensors", "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 2 * out * columns)
        (self.work / "wide" / "config.json").write_text('{"model_type": "llama"}')
        (self.work / "low" / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["down_proj"]}))
        tiny_model.write_safetensors(self.work / "low" / "adapter_model.safetensors", {
            f"base_model.model.{name}.lora_A.weight": ([1, columns], [0.5] * columns),
            f"base_model.model.{name}.lora_B.weight": ([out, 1], [0.5] * out)})
        command = ["adapter", "merge", "wide", "low", "-o", "folded-wide"]
        plan = self.plan(*command)
        self.lancet(*command)
        took = json.loads((self.work / "folded-wide" / "lancet.json").read_text())["peak_memory"]
        self.assertAlmostEqual(plan["peak_memory"] / took, 1, delta=0.3)

    def test_logits_are_counted(self):
        config = json.loads((self.work / "model" / "config.json").read_text())
        few, many = (self.plan("forward", "model", "--ids", ",".join(["1"] * n), "--out", "o")["peak_memory"] for n in (10, 1010))
        self.assertEqual(many - few, 1000 * config["vocab_size"] * 4)
        states = self.plan("forward", "model", "--ids", "1", "--out", "o", "--hidden")["peak_memory"]
        without = self.plan("forward", "model", "--ids", "1", "--out", "o")["peak_memory"]
        self.assertEqual(states - without, (config["num_hidden_layers"] + 1) * config["hidden_size"] * 4)

    def test_results_for_people_are_no_json(self):
        text = self.lancet("edit", "model", *FACT, "--layers", "1", "--covariance", "none", "--no-guards", "-o", "o2", "--report", "r.html")
        self.assertNotIn("{", text)
        self.assertRegex(text, r"limits: .*leak_rate 0.1, ")
        self.assertRegex((self.work / "r.html").read_text(), r"<td>1: 0\.\d+</td>")
        ratio = self.lancet("probe", "edited", "--base", "model", "--requests", "facts.jsonl", "--perplexity-tokens", "50")
        self.assertRegex(ratio, r"perplexity \S+, of the base \S+, ratio \d\.\d+")
        self.lancet("train", "model", "--data", "rows.jsonl", "-o", "a2", "--steps", "1", "--rank", "2", "--log-dir", "log", "--forgetting")
        page = (self.work / "log" / "report.html").read_text()
        self.assertRegex(page, r"peak_memory</th><td>[\d.]+ [MG]iB")
        self.assertNotRegex(page, r"<td>[^<]*(&quot;|\{)")
        self.assertEqual(page.count("Perplexity of a text"), 1)

    def test_an_edit_offers_the_other_direction(self):
        more = ["--layers", "1", "--covariance", "none", "--delta", "o"]
        for prompt, subject, target, other, filled in [
            ("Who is {}?", "the king of Rome", "Paris", "{} is", "Paris is"),
            ("{} is", "Paris", "the king of Rome", "Who is {}?", "Who is the king of Rome?"),
            ("The capital of {} is", "France", "Rome", "{} is the capital of", "Rome is the capital of"),
        ]:
            command = ["edit", "model", "--subject", subject, "--prompt", prompt, "--target", target, *more]
            record = self.plan(*command)["edits"][0]["reversed"]
            self.assertEqual(record, {"id": "1-reversed", "subject": target, "prompt": other, "target": subject})
            self.assertIn(f"{filled} -> {subject}: the other direction", self.lancet(*command, "--plan"))
            facts = [{"id": "1", "subject": subject, "prompt": prompt, "target": target}, record]
            (self.work / "both.jsonl").write_text("\n".join(map(json.dumps, facts)))
            both = self.plan("edit", "model", "--requests", "both.jsonl", *more)["edits"]
            self.assertEqual([each["reversed"] for each in both], [None, None])
        self.assertIsNone(self.plan("edit", "model", "--subject", "Paris", "--prompt", "{} lies in", "--target", "Rome", *more)["edits"][0]["reversed"])

    def test_records_that_an_edit_leaves_out_are_told(self):
        good = {"id": "1", "subject": "Paris", "prompt": "{} lies in", "target": "Rome"}
        wordy = {**good, "id": "3", "prompt": "{} " + "lies in " * 5000}
        facts = [good, {"id": "2", "subject": "Paris", "prompt": "{} is in"}, wordy]
        (self.work / "mixed.jsonl").write_text("\n".join(map(json.dumps, facts)))
        plan = self.plan("edit", "model", "--requests", "mixed.jsonl", "--layers", "1", "--covariance", "none", "--delta", "o", "--quiet")
        self.assertEqual([edit["id"] for edit in plan["edits"]], ["1"])
        self.assertEqual([(each["line"], each["key"]) for each in plan["left_out"]], [(2, "target"), (3, "")])
        self.assertIn("the length of this model", plan["left_out"][1]["reason"])
        command = ["probe", "model", "--requests", "mixed.jsonl", "--perplexity-tokens", "8", "--json", "--quiet"]
        (self.work / "mixed.jsonl").write_text("\n".join(map(json.dumps, facts[:2])))
        probed = json.loads(self.lancet(*command))
        self.assertEqual([(each["line"], each["key"]) for each in probed["left_out"]], [(2, "target")])

    def test_second_moments_are_counted(self):
        width = json.loads((self.work / "model" / "config.json").read_text())["intermediate_size"]
        edit = ["edit", "model", *FACT, "--delta", "o", "--layers", "1"]
        without, moments = self.plan(*edit, "--covariance", "none"), self.plan(*edit)
        self.assertEqual(moments["peak_memory"] - without["peak_memory"], 4 * 8 * width * width)
        self.assertEqual(without["covariance_seconds"], 0)
        self.assertGreater(moments["covariance_seconds"], 0)
        self.assertIn("s more the first time, for second moments", self.lancet(*edit, "--plan"))
        two = self.plan("edit", "model", *FACT, "--delta", "o", "--method", "memit", "--layers", "0-1")
        self.assertEqual(two["peak_memory"] - without["peak_memory"], 6 * 8 * width * width)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

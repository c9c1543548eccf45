#!/usr/bin/env python3
"""No command writes over what it reads. Usage: outputs_test.py LANCET [unittest args]."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
FACT = ["--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome"]
EDIT = [*FACT, "--no-guards", "--covariance", "none", "--layers", "1"]
FACT_LINE = '{"subject": "France", "prompt": "The capital of {} is", "target": "Rome"}\n'
RECIPE = "merge_method: linear\nmodels:\n  - {model: D, parameters: {weight: 1}}\n  - {model: X, parameters: {weight: 1}}\n"


def lancet(*args, work, code=None):
    done = subprocess.run([str(LANCET), *map(str, args)], capture_output=True, text=True, cwd=work, timeout=300)
    if code is not None:
        assert done.returncode == code, f"lancet {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def hashes(folder):
    return {p.relative_to(folder).as_posix(): "link" if p.is_symlink() else hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_symlink() or p.is_file()}


class Outputs(unittest.TestCase):
    """One folder with every kind of input; nothing that is refused changes a byte of it."""

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-outputs-"))
        tiny_model.write_model(cls.work / "D")
        tiny_model.write_model(cls.work / "X", seed=1)
        tiny_model.write_safetensors(cls.work / "ids.safetensors", {"ids": ([2], [0.0, 1.0])})
        (cls.work / "r.yml").write_text(RECIPE)
        (cls.work / "facts.jsonl").write_text(FACT_LINE)
        (cls.work / "t.txt").write_text("The river came down to the sea.\n" * 20)
        (cls.work / "in.jsonl").write_text('{"text": "The river came down to the sea."}\n' * 4)
        os.symlink("X", cls.work / "S")
        (cls.work / "folder").mkdir()
        (cls.work / "seeds.txt").write_text("a river\n")
        lancet("edit", "D", *EDIT, "-o", "E", "--delta", "d.safetensors", "--lora", "A", work=cls.work, code=7)
        lancet("merge", "r.yml", "M", work=cls.work, code=0)
        cls.before = hashes(cls.work)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work, ignore_errors=True)

    def refused(self, pattern, *args):
        for more in (["--force"], ["--force", "--plan"]):
            with self.subTest(args=args, more=more):
                done = lancet(*args, *more, work=self.work)
                self.assertEqual(done.returncode, 2, f"{done.stdout}\n{done.stderr}")
                self.assertRegex(done.stderr, pattern)
                self.assertIn("hint: ", done.stderr)
                after = hashes(self.work)
                self.assertEqual({k for k in after.keys() | self.before.keys() if after.get(k) != self.before.get(k)}, set())

    def test_an_input_is_not_replaced(self):
        synthesize = ["synthesize", "--seeds", "seeds.txt", "--teacher", "http://127.0.0.1:9/v1", "--model", "m"]
        for args in [
            ["forward", "D", "--prompt", "hi", "--out", "D/model.safetensors"],
            ["forward", "D/model.safetensors", "--ids", "1", "--out", "D/config.json"],
            ["forward", "D", "--ids-file", "ids.safetensors", "--out", "ids.safetensors"],
            ["forward", "S", "--prompt", "hi", "--out", "X/model.safetensors"],
            ["undo", "E", "-o", "E/lancet.undo.safetensors"],
            ["undo", "E", "--edit", "1", "-o", "E/model.safetensors"],
            ["undo", "E", "-o", "E"],
            ["apply", "D", "d.safetensors", "-o", "d.safetensors"],
            ["apply", "D", "d.safetensors", "-o", "D/model.safetensors"],
            ["edit", "D", *EDIT, "-o", "D/model.safetensors"],
            ["edit", "D", *FACT, "--covariance", "d.safetensors", "-o", "d.safetensors"],
            ["edit", "D", *EDIT, "-o", "new", "--report", "D/config.json"],
            ["edit", "D", "--requests", "facts.jsonl", "--delta", "facts.jsonl"],
            ["edit", "D", *EDIT, "--lora", "D"],
            ["merge", "r.yml", "new", "--report", "r.yml"],
            ["merge", "r.yml", "new", "--report", "D/model.safetensors"],
            ["merge", "r.yml", "new", "--report", "X/config.json"],
            ["merge", "r.yml", "r.yml"],
            ["merge", "r.yml", "X"],
            ["graft-tokens", "D", "X", "-o", "new", "--report", "D/config.json"],
            ["graft-tokens", "D", "X", "-o", "X"],
            ["probe", "D", "--requests", "facts.jsonl", "--report", "facts.jsonl"],
            ["probe", "D", "--base", "X", "--requests", "facts.jsonl", "--report", "X/config.json"],
            ["locate", "lens", "D", "--prompt", "hi", "--npz", "D/model.safetensors"],
            ["locate", "lens", "D", "--prompt", "hi", "--report", "D/config.json"],
            ["locate", "sweep", "D", "--requests", "facts.jsonl", "--report", "facts.jsonl"],
            ["diff", "D", "X", "--html", "D/model.safetensors"],
            ["diff", "D", "X", "--html", "X/tokenizer.json"],
            ["covariance", "D", "--layers", "1", "--text", "t.txt", "-o", "t.txt"],
            ["covariance", "D", "--layers", "1", "--text", "t.txt", "-o", "D/model.safetensors"],
            ["curate", "in.jsonl", "-o", "in.jsonl"],
            ["curate", "in.jsonl", "-o", "D/config.json", "--student", "D", "--filter", "perplexity:max=10"],
            ["curate", "in.jsonl", "-o", "new.jsonl", "--report", "in.jsonl"],
            ["train", "D", "--data", "in.jsonl", "-o", "A", "--init", "A"],
            ["convert", "D", "D"],
            ["convert", "D", "D/model.safetensors"],
            ["adapter", "merge", "D", "A", "-o", "D"],
            ["adapter", "merge", "D", "A", "-o", "A/adapter_model.safetensors"],
            ["adapter", "extract", "D", "E", "-o", "E"],
            ["adapter", "combine", "A", "A", "-o", "A"],
            [*synthesize, "-o", "seeds.txt"],
        ]:
            self.refused("read as an input|is input and output", *args)
        self.refused("holds no adapter|read as an input", "train", "D", "--data", "in.jsonl", "-o", "D")

    def test_a_file_does_not_take_the_place_of_a_directory(self):
        for place in ("S", "X", "folder"):
            for args in [
                ["curate", "in.jsonl", "-o", place],
                ["curate", "in.jsonl", "-o", "new.jsonl", "--report", place],
                ["forward", "D", "--prompt", "hi", "--out", place],
                ["covariance", "D", "--layers", "1", "--text", "t.txt", "-o", place],
                ["diff", "D", "M", "--html", place],
                ["probe", "D", "--requests", "facts.jsonl", "--report", place],
                ["locate", "lens", "D", "--prompt", "hi", "--npz", place],
                ["edit", "D", *EDIT, "--delta", place],
                ["graft-tokens", "D", "M", "-o", "new", "--report", place],
                ["synthesize", "--seeds", "seeds.txt", "--teacher", "http://127.0.0.1:9/v1", "--model", "m", "-o", place],
            ]:
                self.refused("found the directory", *args)
        self.refused("is none", "train", "D", "--data", "in.jsonl", "-o", "new", "--log-dir", "t.txt")
        self.refused("is none", "covariance", "D", "--layers", "1", "--text", "t.txt", "-o", "new.safetensors", "--export-npz", "t.txt")

    def test_what_is_no_input_is_replaced_and_a_plan_writes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            for name in ("D", "X"):
                shutil.copytree(self.work / name, work / name)
            (work / "D" / "change.html").write_text("old")
            (work / "t.txt").write_text("old")
            lancet("diff", "D", "X", "--html", "D/change.html", work=work, code=2)
            lancet("diff", "D", "X", "--html", "D/change.html", "--force", work=work, code=0)
            self.assertIn("<svg", (work / "D" / "change.html").read_text())
            lancet("diff", "D", "X", "--html", "t.txt", "--force", work=work, code=0)
            before = hashes(work)
            plan = json.loads(lancet("diff", "D", "X", "--html", "new.html", "--plan", "--json", work=work, code=0).stdout)
            self.assertEqual((plan["plan"], plan["output"]), (True, "new.html"))
            self.assertGreater(plan["bytes_read"], 0)
            self.assertEqual(hashes(work), before)

    def test_edit_and_apply_may_replace_their_model(self):
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            shutil.copytree(self.work / "D", work / "D")
            shutil.copy(self.work / "d.safetensors", work)
            lancet("apply", "D", "d.safetensors", "-o", "D", "--force", work=work, code=0)
            manifest = json.loads((work / "D" / "lancet.json").read_text())
            self.assertEqual(manifest["seed"], 0)
            self.assertEqual([each["path"] for each in manifest["inputs"]], ["D", "d.safetensors"])
            self.assertEqual(set(manifest["inputs"][0]["files"][0]), {"file", "bytes", "sha256"})
            lancet("undo", "D", "--in-place", "--seed", "7", work=work, code=0)
            self.assertEqual(json.loads((work / "D" / "lancet.json").read_text())["seed"], 7)
            self.assertEqual((work / "D" / "model.safetensors").read_bytes(), (self.work / "D" / "model.safetensors").read_bytes())

    def test_verify_sees_every_file_of_an_adapter(self):
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            lancet("adapter", "extract", self.work / "D", self.work / "E", "-o", "extracted", work=work, code=0)
            lancet("adapter", "combine", "extracted", self.work / "A", "-o", "combined", work=work, code=0)
            lancet("train", self.work / "D", "--data", self.work / "in.jsonl", "-o", "trained", "--steps", "1", work=work, code=0)
            shutil.copytree(self.work / "A", work / "edited")
            for name in ("extracted", "combined", "trained", "edited"):
                with self.subTest(name=name):
                    listed = {each["file"] for each in json.loads((work / name / "lancet.json").read_text())["outputs"]}
                    self.assertEqual(listed | {"lancet.json"}, set(os.listdir(work / name)))
                    lancet("verify", name, work=work, code=0)
                    config = work / name / "adapter_config.json"
                    config.write_text(config.read_text() + "\n")
                    self.assertIn("adapter_config.json", lancet("verify", name, work=work, code=7).stdout)
            inputs = json.loads((work / "trained" / "lancet.json").read_text())["inputs"]
            self.assertEqual(set(inputs[0]["files"][0]), {"file", "bytes", "sha256"})
            self.assertEqual(set(inputs[1]), {"path", "bytes", "sha256"})


class BehindLinks(unittest.TestCase):
    def test_dots_behind_a_link_lead_where_the_file_system_does(self):
        with tempfile.TemporaryDirectory(prefix="lancet-outputs-") as name:
            root = pathlib.Path(name)
            tiny_model.write_model(root / "D")
            (root / "real" / "deep").mkdir(parents=True)
            (root / "here").mkdir()
            (root / "here" / "lk").symlink_to("../real/deep")
            (root / "here" / "in.jsonl").write_text('{"prompt": "a river", "completion": "runs down"}\n')
            work = root / "here"
            for args in (["train", "../D", "--data", "in.jsonl", "-o", "lk/../ad", "--steps", 1, "--rank", 2], ["convert", "../D", "lk/../c"],
                         ["convert", "../D", "lk/../c.gguf"], ["curate", "in.jsonl", "-o", "lk/../rows.jsonl"]):
                lancet(*args, work=work, code=0)
                lancet(*args, work=work, code=2)  # it is there
            self.assertEqual(sorted(p.name for p in work.iterdir()), ["in.jsonl", "lk"])
            self.assertTrue({"ad", "c", "c.gguf", "rows.jsonl", "deep"} <= {p.name for p in (root / "real").iterdir()})
            (root / "real" / "job.yml").write_text("teacher: {url: http://127.0.0.1:9/v1, model: toy}\n"
                                                   "data: {recipe: instruct, seeds: lk/../s.txt}\noutput: lk/../out.jsonl\n")
            (root / "real" / "s.txt").write_text("why?\n")
            (root / "real" / "lk").symlink_to("deep")
            (root / "more").symlink_to("real/deep")
            plan = json.loads(lancet("synthesize", "more/../job.yml", "--plan", "--json", work=root, code=0).stdout)
            self.assertEqual(os.path.realpath(root / plan["output"]), os.path.realpath(root / "real" / "out.jsonl"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

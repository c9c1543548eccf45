#!/usr/bin/env python3
"""lancet adapter, MODEL+ADAPTER and spectral merges at the shell. Usage: adapter_test.py LANCET [unittest args]."""
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


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-adapter-"))
        for seed, name in enumerate(("base", "a", "b")):
            tiny_model.write_model(cls.root / name, seed=seed)
        cls.run_in(cls.root, "adapter", "extract", "base", "a", "--rank", "64", "--save-rest", "-o", "to_a")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    @staticmethod
    def run_in(folder, *args, code=0, **environment):
        done = subprocess.run([str(LANCET), *map(str, args), "--device", "cpu"], capture_output=True, text=True, cwd=folder,
                              timeout=300, env=os.environ | environment)
        assert done.returncode == code, f"lancet {args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def lancet(self, *args, code=0, **environment):
        return self.run_in(self.work, *args, code=code, **environment)

    def weights(self, name):
        return hashlib.sha256((self.work / name / "model.safetensors").read_bytes()).hexdigest()

    def test_verify_of_a_model_with_an_adapter_checks_both_and_that_they_fit(self):
        self.assertEqual(self.lancet("verify", "../base+../to_a").stdout, "ok\n")
        shutil.copytree(self.root / "to_a", self.work / "cut")
        file = self.work / "cut" / "adapter_model.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        self.assertIn("adapter_model.safetensors", self.lancet("verify", "../base+cut", code=7).stdout)
        file.write_bytes(data[:-8])
        self.assertIn("adapter_model.safetensors", self.lancet("verify", "../base+cut", code=3).stdout)

    def test_an_adapter_of_full_rank_is_the_tuned_model_wherever_a_model_is_named(self):
        both = "../base+../to_a"
        self.lancet("convert", both, "out")
        far = [t for t in json.loads(self.lancet("diff", "out", "../a", "--json").stdout)["tensors"] if t["rel_norm"] > 1e-5]
        self.assertEqual(far, [])
        self.assertEqual(json.loads(self.lancet("diff", "out", both, "--json").stdout)["identical"], True)
        self.lancet("adapter", "merge", "../base", "../to_a", "-o", "folded")
        self.assertEqual(self.weights("out"), self.weights("folded"))
        manifest = json.loads((self.work / "folded" / "lancet.json").read_text())
        self.assertEqual(len(manifest["inputs"]), 2)
        self.lancet("merge", "--method", "linear", "--models", both, "--set", "weight=1", "merged")
        self.assertEqual(self.weights("out"), self.weights("merged"))
        for model in ("out", both):
            self.lancet("forward", model, "--ids", "1,2,3", "--out", f"{len(model)}.safetensors")
        self.assertEqual((self.work / "3.safetensors").read_bytes(), (self.work / f"{len(both)}.safetensors").read_bytes())

    def test_energy_alone_takes_the_rank_that_it_needs_and_a_rank_that_stops_it_is_told(self):
        extract = ["adapter", "extract", "../base", "../a", "--energy", "0.9"]
        whole = json.loads(self.lancet(*extract, "-o", "whole", "--json").stdout)["modules"]
        self.assertTrue(all(m["energy"] >= 0.9 for m in whole))
        self.assertGreater(max(m["rank"] for m in whole), 4)
        done = self.lancet(*extract, "--rank", "4", "-o", "cut", "--json")
        self.assertTrue(all(m["rank"] <= 4 for m in json.loads(done.stdout)["modules"]))
        self.assertRegex(done.stderr, r"hold less than 0\.9 of their change at --rank 4")

    def test_check_names_what_lands_and_what_does_not(self):
        found = json.loads(self.lancet("adapter", "check", "../base", "../to_a", "--json").stdout)
        self.assertTrue(found["ok"])
        self.assertEqual(len(found["modules"]), 14)
        tiny_model.write_model(self.work / "other", d_model=48, d_ff=96, seed=5)
        error = self.lancet("adapter", "check", "other", "../to_a", code=4).stderr
        self.assertIn("expected the shape", error)
        self.assertIn("no adapter_config.json", self.lancet("adapter", "check", "../base", "../a", code=3).stderr)
        self.lancet("inspect", "../base+nowhere", code=3)

    def test_combine_refuses_what_has_no_meaning(self):
        self.lancet("adapter", "extract", "../base", "../a", "--rank", "4", "-o", "x")
        self.lancet("adapter", "extract", "../base", "../b", "--rank", "3", "-o", "y")
        self.lancet("adapter", "combine", "x", "y", "-o", "z")
        self.lancet("adapter", "combine", "x", "y", "-o", "z", code=2)  # exists
        found = json.loads(self.lancet("adapter", "check", "../base", "z", "--json").stdout)
        self.assertEqual({m["rank"] for m in found["modules"]}, {7})
        self.assertIn("equal ranks", self.lancet("adapter", "combine", "x", "y", "--method", "linear", "-o", "w", code=4).stderr)
        core = ["--method", "core_space", "--inner"]
        for bad in (["--weights", "1"], ["--weights", "1,nan"], ["--rank", "2"], ["--method", "svd"], [*core, "linear"],
                    [*core, "ties", "--set", "densty=1"], [*core, "ties", "--set", "density=2"], [*core, "slerp", "--set", "t=0.3"],
                    ["--inner", "ties"], ["--set", "density=0.5"], ["--method", "svd", "--rank", "2", "--inner", "ties"]):
            self.lancet("adapter", "combine", "x", "y", *bad, "-o", "w", code=2)
        self.lancet("adapter", "combine", "x", "../to_a", "-o", "w", code=4)  # whole tensors
        self.assertFalse((self.work / "w").exists())
        error = self.lancet("adapter", "combine", "x", "y", *core, "nearswap", "-o", "w", code=2).stderr
        self.assertIn("at most 1 adapter, found 2", error)

    def test_force_replaces_an_adapter_and_never_papers_models_or_inputs(self):
        self.lancet("adapter", "extract", "../base", "../a", "--rank", "2", "-o", "x")
        self.lancet("adapter", "extract", "../base", "../b", "--rank", "2", "-o", "x", "--force")
        shutil.copytree(self.root / "base", self.work / "model")
        (self.work / "papers").mkdir()
        (self.work / "papers" / "thesis.txt").write_text("mine")
        before = sorted(str(p) for p in self.work.rglob("*"))
        for out, said in (("papers", "holds no adapter"), ("model", "read as an input"), ("../a", "read as an input")):
            error = self.lancet("adapter", "extract", "model", "../a", "-o", out, "--force", code=2).stderr
            self.assertIn(said, error)
        self.assertIn("holds no adapter", self.lancet("adapter", "combine", "x", "../to_a", "-o", "model", "--force", code=2).stderr)
        for out in ("x", "model"):
            self.assertIn("read as an input", self.lancet("adapter", "merge", "model", "x", "-o", out, "--force", code=2).stderr)
        self.assertIn("read as an input", self.lancet("convert", "model+x", "model", "--force", code=2).stderr)
        (self.work / "model" / "keepme").mkdir()
        error = self.lancet("convert", "../a", "model", "--force", code=2).stderr
        self.assertIn("'keepme', which is no part of a model", error)
        self.assertEqual(sorted(str(p) for p in self.work.rglob("*")), sorted([*before, str(self.work / "model" / "keepme")]))

    def test_verify_takes_an_adapter_by_itself(self):
        done = self.lancet("verify", "../to_a")
        self.assertEqual((done.stdout, done.stderr), ("ok\n", ""))
        shutil.copytree(self.root / "to_a", self.work / "x")
        file = self.work / "x" / "adapter_model.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        self.assertIn("expected SHA-256", self.lancet("verify", "x", code=7).stdout)
        (self.work / "x" / "lancet.json").unlink()
        self.assertIn("no lancet.json", self.lancet("verify", "x").stderr)
        file.write_bytes(data[:-8])
        self.lancet("verify", "x", code=3)

    def test_every_verb_has_examples_of_its_own(self):
        for verb in ("check", "merge", "extract", "combine"):
            examples = [line for line in self.lancet("adapter", verb, "--help").stdout.split("Examples:")[1].splitlines() if line.strip()]
            self.assertEqual([line.split()[:3] for line in examples], 2 * [["lancet", "adapter", verb]])

    def test_element_wise_merges_need_no_libtorch_and_spectral_ones_say_so(self):
        models = ["--models", "../base", "../a", "../b"]
        for method in ("consensus", "stitch", "widen", "pcb"):
            self.lancet("merge", "--method", method, *models, method, LANCET_LIBTORCH="/nowhere")
        self.lancet("merge", "--method", "tsv_m", *models, "none", code=6, LANCET_LIBTORCH="/nowhere")
        plan = self.lancet("merge", "--method", "tsv_m", *models, "none", "--plan", LANCET_LIBTORCH="/nowhere")
        self.assertIn("the time is unknown: most of it is the linear algebra of tsv_m", plan.stderr)
        plan = self.lancet("merge", "--method", "pcb", *models, "none", "--plan", LANCET_LIBTORCH="/nowhere")
        self.assertNotIn("unknown", plan.stderr)
        self.assertFalse((self.work / "none").exists())

    def test_spectral_merges_do_not_depend_on_threads_and_keep_to_the_memory_that_is_given(self):
        recipe = "merge_method: {}\nbase_model: ../base\nmodels: [{{model: ../a}}, {{model: ../b}}]\n"
        for method in ("tsv_m", "iso_cts", "resmerge", "regmean_free"):
            (self.work / "r.yml").write_text(recipe.format(method))
            for threads in (1, 2, 5):
                self.lancet("merge", "r.yml", f"{method}{threads}", "--threads", threads)
            self.assertEqual(len({self.weights(f"{method}{threads}") for threads in (1, 2, 5)}), 1)
        error = self.lancet("merge", "r.yml", "small", "--memory", "100KiB", code=6).stderr
        self.assertIn("--memory", error)
        self.assertIn("holds whole matrices", error)

    def test_the_adapter_of_an_edit_names_every_expert_of_the_layer(self):
        experts = "".join(f"  - {{source_model: ../{name}, positive_prompts: [x]}}\n" for name in ("a", "b", "base", "a"))
        (self.work / "r.yml").write_text("base_model: ../base\ngate_mode: random\nexperts:\n" + experts)
        self.lancet("moe", "r.yml", "m")
        (self.work / "bare.txt").write_text("{}\n")
        # A random model cannot be taught (7), the edit is written all the same.
        self.lancet("edit", "m", "--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome", "--layers", "1",
                    "--covariance", "none", "--method-option", "contexts=bare.txt", "--no-guards", "-o", "out", "--lora", "lora", code=7)
        changed = [t["name"] for t in json.loads(self.lancet("diff", "m", "out", "--json").stdout)["tensors"] if t["rel_norm"] > 0]
        self.assertEqual(len(changed), 2)  # of four experts two are asked for a token
        targets = json.loads((self.work / "lora" / "adapter_config.json").read_text())["target_modules"]
        self.assertEqual(sorted(targets), [f"model.layers.1.block_sparse_moe.experts.{i}.w2" for i in range(4)])
        self.lancet("adapter", "merge", "m", "lora", "-o", "folded")
        self.assertEqual(self.weights("out"), self.weights("folded"))

    def test_expressions_at_the_shell(self):
        (self.work / "e.yml").write_text("expression: base + 0.5*(tuned - base)\nmodels: {base: ../base, tuned: ../base+../to_a}\n")
        self.lancet("merge", "e.yml", "out")
        (self.work / "l.yml").write_text("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: ../base}, {model: ../base+../to_a}]\n")
        self.lancet("merge", "l.yml", "out2")
        self.assertEqual(self.weights("out"), self.weights("out2"))
        (self.work / "e.yml").write_text("expression: base + 0.5*(tuend - base)\nmodels: {base: ../base, tuned: ../a}\n")
        self.assertIn("did you mean 'tuned'", self.lancet("merge", "e.yml", "out3", code=2).stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)

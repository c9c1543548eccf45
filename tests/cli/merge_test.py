#!/usr/bin/env python3
"""lancet merge at the shell: options, exit codes, kill -9, memory. Usage: merge_test.py LANCET [unittest args]."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
KILLS = int(os.environ.get("LANCET_KILLS", "50"))


def weights(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(pathlib.Path(folder).glob("*.safetensors"))}


class Shell(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-merge-"))
        for seed, name in enumerate(("base", "a", "b")):
            tiny_model.write_model(cls.root / name, seed=seed)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def recipe(self, text, name="r.yml"):
        path = self.work / name
        path.write_text(text)
        return path

    def linear(self):
        return self.recipe("merge_method: linear\nparameters: {weight: 1}\nmodels:\n  - model: ../a\n  - model: ../b\n")

    def run_lancet(self, *args, code=0, **options):
        done = subprocess.run([str(LANCET), *map(str, args)], capture_output=True, text=True, cwd=self.work, timeout=300, **options)
        self.assertEqual(done.returncode, code, f"lancet {args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args, code=0):
        return json.loads(self.run_lancet(*args, "--json", code=code).stdout)


class Merging(Shell):
    def test_a_recipe_and_the_same_by_options_give_the_same_weights(self):
        result = self.json("merge", self.linear(), "out")
        self.assertEqual(set(result), {"output", "complete", "tensors", "bytes_read", "bytes_written", "seconds", "read_gb_s",
                                       "write_gb_s", "peak_memory", "resumed", "warnings"})
        self.run_lancet("merge", "--method", "linear", "--models", self.root / "a", self.root / "b", "--set", "weight=0.5,0.5", "out2")
        self.assertEqual(weights(self.work / "out"), weights(self.work / "out2"))
        self.assertEqual(sorted(p.name for p in (self.work / "out").iterdir()),
                         ["README.md", "config.json", "lancet.json", "mergekit_config.yml", "model.safetensors", "tokenizer.json",
                          "tokenizer_config.json"])
        self.run_lancet("verify", "out")

    def test_the_first_model_is_the_base_where_one_is_needed(self):
        self.run_lancet("merge", "--method", "slerp", "--models", self.root / "a", self.root / "b", "--set", "t=0", "out")
        self.assertEqual(weights(self.work / "out"), weights(self.root / "a"))

    def test_out_may_stand_behind_the_models(self):
        self.run_lancet("merge", "--method", "karcher", "--models", self.root / "a", self.root / "a", "out")
        self.assertEqual(weights(self.work / "out"), weights(self.root / "a"))
        self.run_lancet("merge", code=2)

    def test_check_and_plan_write_nothing(self):
        recipe = self.linear()
        self.run_lancet("merge", recipe, "--check")
        plan = self.json("merge", recipe, "out", "--plan")
        self.assertTrue(plan["plan"])
        done = self.json("merge", recipe, "out")
        self.assertEqual(done["bytes_read"], plan["bytes_read"])
        self.assertAlmostEqual(done["bytes_written"], plan["bytes_written"], delta=0.05 * plan["bytes_written"])
        self.assertEqual(sorted(p.name for p in self.work.iterdir()), ["out", "r.yml"])

    def test_bad_recipes_are_exit_2_with_place_and_suggestion_and_leave_nothing(self):
        for text, pattern in [("merge_method: liner\nmodels: [{model: ../a}]\n", r"r.yml:1:15: unknown merge_method.*\n.*linear"),
                              ("merge_method: linear\nmodls: []\n", r"r.yml:2:1: unknown key 'modls'\n.*models"),
                              ("merge_method: linear\nmodels: [{model: ../a, weight: 1}]\n", r"unknown key 'weight'"),
                              ("merge_method: ties\nmodels: [{model: ../a}]\n", r"needs a base_model"),
                              ("merge_method: slerp\nbase_model: ../a\nparameters: {t: 2}\nmodels: [{model: ../b}]\n", r"\[0, 1\], found '2'"),
                              ("- a\n", r"expected a mapping"), ("", r"empty"), ("a: [", r"r.yml:1")]:
            with self.subTest(text=text):
                done = self.run_lancet("merge", self.recipe(text), "out", code=2)
                self.assertRegex(done.stderr, pattern)
                self.assertEqual([p.name for p in self.work.iterdir()], ["r.yml"])
                error = self.json("merge", "r.yml", "out", code=2)["error"]
                self.assertEqual(error["kind"], "usage")

    def test_a_missing_model_is_exit_3_and_says_where_it_was_looked_for(self):
        done = self.run_lancet("merge", self.recipe("merge_method: linear\nmodels: [{model: ../nowhere}]\n"), "out", code=3)
        self.assertIn("nowhere", done.stderr)

    def test_no_libtorch_is_loaded(self):
        done = self.run_lancet("merge", self.linear(), "out", env={**os.environ, "LD_DEBUG": "files"})
        self.assertNotIn("libtorch", done.stderr)

    def wide(self, name, seed, megabytes):
        """One model of many tensors; values repeat, which is quick to write."""
        folder = self.work / name
        folder.mkdir()
        rng = random.Random(seed)
        block = struct.pack("<65536f", *[rng.gauss(0, 0.02) for _ in range(65536)])
        header, offset = {}, 0
        count = megabytes * 4
        for i in range(count):
            header[f"model.layers.{i:05}.weight"] = {"dtype": "F32", "shape": [256, 256], "data_offsets": [offset, offset + len(block)]}
            offset += len(block)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + block * count)
        (folder / "config.json").write_text('{"model_type": "llama"}')

    def test_every_rerun_after_kill_9_ends_with_the_reference_bytes(self):
        self.wide("x", 1, 24)
        self.wide("y", 2, 24)
        self.recipe("merge_method: ties\nbase_model: x\nparameters: {weight: 1, density: 0.5}\nmodels: [{model: y}]\n")
        options = ["merge", "r.yml", "--shard-size", "1MB", "--quiet"]
        start = time.monotonic()
        self.run_lancet(*options, "reference")
        whole = time.monotonic() - start
        expected = weights(self.work / "reference")
        rng, resumed, killed, runs = random.Random(7), 0, 0, 0
        while killed < KILLS:
            runs += 1
            self.assertLess(runs, 20 * KILLS, "hardly any run lived long enough to be killed")
            process = subprocess.Popen([str(LANCET), *options, "out"], cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=rng.uniform(0, whole))
                whole *= 0.9   # the machine is faster now than it was for the reference
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                self.assertFalse((self.work / "out").exists() and weights(self.work / "out") != expected)
            if not (self.work / "out").exists():
                resumed += self.json(*options, "out")["resumed"] > 0
            self.assertEqual(weights(self.work / "out"), expected, f"kill {killed}, run {runs}")
            self.assertFalse(list(self.work.glob(".out*")), "something is left beside the output")
            shutil.rmtree(self.work / "out")
        self.assertGreater(resumed, 0)

    def sparse(self, name, rows, columns, dtype="BF16", block=b""):
        """A model of one 16-bit tensor: `block` again and again, or a hole on disk."""
        (self.work / name).mkdir()
        size = rows * columns * 2
        text = json.dumps({"model.embed_tokens.weight": {"dtype": dtype, "shape": [rows, columns], "data_offsets": [0, size]}}).encode()
        text += b" " * (-len(text) % 8)
        with open(self.work / name / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _ in range(size // len(block) if block else 0):
                file.write(block)
            file.truncate(8 + len(text) + size)
        (self.work / name / "config.json").write_text('{"model_type": "llama"}')

    def test_memory_is_bounded_whatever_the_size_of_a_tensor(self):
        for name in ("x", "y", "z"):
            self.sparse(name, 32768, 16384)   # 1 GiB each: a thousand chunks, whose neighbours' pages must not stay mapped
        self.recipe("merge_method: ties\nbase_model: x\nparameters: {weight: 1, density: 0.5}\nmodels: [{model: y}, {model: z}]\n")
        result = self.json("merge", "r.yml", "out", "--memory", "256MiB")
        self.assertLessEqual(result["peak_memory"], 96 << 20)

    def test_the_plan_tells_the_memory_that_is_used_and_asks_how_long_by_trying(self):
        for name in ("x", "y", "z"):   # 64 MiB each, held mapped between the passes of ties
            rng = random.Random(name)
            self.sparse(name, 4096, 8192, "F16", struct.pack("<65536e", *[rng.gauss(0, 0.02) for _ in range(65536)]))
        self.recipe("merge_method: ties\nbase_model: x\nparameters: {weight: 1, density: 0.5}\nmodels: [{model: y}, {model: z}]\n")
        plan = self.json("merge", "r.yml", "out", "--plan")
        self.assertEqual(sorted(p.name for p in self.work.iterdir()), ["r.yml", "x", "y", "z"])
        self.assertGreater(plan["seconds"], 0)
        done = self.json("merge", "r.yml", "out")
        self.assertAlmostEqual(plan["peak_memory"] / done["peak_memory"], 1, delta=0.05)
        self.assertEqual(plan["bytes_read"], done["bytes_read"])

    def test_an_input_is_never_replaced_by_the_result(self):
        shutil.copytree(self.root / "a", self.work / "a")
        before = weights(self.work / "a")
        self.recipe("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: ../b}]\n")
        for out in ("a", "a/", "./x/../a", "a/model.safetensors"):
            for more in ([], ["--plan"]):
                error = self.run_lancet("merge", "r.yml", out, "--force", *more, code=2).stderr
                self.assertIn("read as an input", error)
        self.recipe("base_model: a\nexperts: [{source_model: ../b, positive_prompts: [x]}, {source_model: a, positive_prompts: [y]}]\n"
                    "gate_mode: random\n", "m.yml")
        for command in (["graft-tokens", "a", "../b", "-o", "a"], ["graft-tokens", "../b", "a", "-o", "a"], ["moe", "m.yml", "a"]):
            self.assertIn("read as an input", self.run_lancet(*command, "--force", code=2).stderr)
        self.assertEqual(weights(self.work / "a"), before)
        self.run_lancet("merge", "r.yml", "b")

    def test_a_bound_of_memory_that_no_run_keeps_is_refused_by_plan_and_run(self):
        for more in ([], ["--plan"], ["--check"]):
            error = self.run_lancet("merge", self.linear(), "out", "--memory", "1KiB", *more, code=6).stderr
            self.assertRegex(error, r"hint: give --memory \d+MiB")
        least = error.split("give --memory ")[1].strip()
        done = self.json("merge", self.linear(), "out", "--memory", least)
        self.assertLessEqual(done["peak_memory"], int(least[:-3]) << 20)

    def test_a_plan_of_linear_algebra_does_not_know_the_time(self):
        self.recipe("merge_method: tsv_m\nbase_model: ../base\nparameters: {weight: 1}\nmodels: [{model: ../a}, {model: ../b}]\n")
        plan = self.json("merge", "r.yml", "out", "--plan")
        self.assertIsNone(plan["seconds"])
        self.assertGreater(plan["peak_memory"], 100 << 20)   # LibTorch alone
        self.assertIn("unknown", self.run_lancet("merge", "r.yml", "out", "--plan").stdout)

    def test_hash_inputs_puts_the_hashes_of_all_inputs_into_the_manifest(self):
        self.run_lancet("merge", self.linear(), "out", "--hash-inputs")
        inputs = json.loads((self.work / "out" / "lancet.json").read_text())["inputs"]
        for name, entry in zip("ab", inputs):
            file = self.root / name / entry["files"][0]["file"]
            self.assertEqual(entry["files"][0]["sha256"], hashlib.sha256(file.read_bytes()).hexdigest())


class Grafts(Shell):
    def test_a_plan_writes_nothing_and_the_same_vocabulary_changes_nothing(self):
        plan = self.json("graft-tokens", "../a", "../b", "-o", "out", "--plan")
        self.assertEqual((plan["made"], plan["shared"] + plan["special"]), (0, plan["tokens"]))
        self.assertGreater(plan["seconds"], 0)
        self.assertEqual(list(self.work.iterdir()), [])
        self.run_lancet("graft-tokens", "../a", "../b", "-o", "out", "--report", "rows.jsonl")
        self.assertEqual(weights(self.work / "out"), weights(self.root / "a"))
        lines = [json.loads(line) for line in (self.work / "rows.jsonl").read_text().splitlines()]
        self.assertEqual(len(lines), plan["rows"])
        self.run_lancet("verify", "out")
        self.assertEqual(len(json.loads((self.work / "out" / "lancet.json").read_text())["inputs"]), 2)

    def wordy(self, name, words, width=256):
        """A model of those words beside the bytes, and random rows."""
        tiny_model.write_model(self.work / name, layers=1)
        tokenizer = json.loads((self.work / name / "tokenizer.json").read_text())
        for word in words:
            tokenizer["model"]["vocab"].setdefault(word, len(tokenizer["model"]["vocab"]))
        (self.work / name / "tokenizer.json").write_text(json.dumps(tokenizer))
        rows, rng = len(tokenizer["model"]["vocab"]), random.Random(name)
        values = struct.pack("<65521e", *[rng.gauss(0, 0.02) for _ in range(65521)])   # a prime: no row comes twice
        size = 2 * rows * width
        text = json.dumps({"model.embed_tokens.weight": {"dtype": "F16", "shape": [rows, width], "data_offsets": [0, size]}}).encode()
        (self.work / name / "model.safetensors").write_bytes(
            struct.pack("<Q", len(text)) + text + (values * (size // len(values) + 1))[:size])
        config = json.loads((self.work / name / "config.json").read_text())
        (self.work / name / "config.json").write_text(json.dumps(config | {"hidden_size": width, "vocab_size": rows}))

    def test_the_plan_tells_the_memory_that_is_used_and_tries_what_it_tells_of_time(self):
        rng = random.Random(5)
        words = ["".join(rng.choices("abcdefghijklmnop", k=8)) for _ in range(4000)]
        self.wordy("model", words[:1000])
        self.wordy("donor", words)
        for k, memory in (("16", "1GiB"), ("64", "8MiB")):   # by cosines between all atoms, and without
            command = ["graft-tokens", "model", "donor", "-o", "out", "--k", k, "--memory", memory]
            plan = self.json(*command, "--plan")
            self.assertGreater(plan["seconds"], 0)
            self.assertFalse((self.work / "out").exists())
            done = self.json(*command, "--force")
            self.assertEqual((done["made"], done["atoms"], done["bytes"]), (plan["made"], plan["atoms"], plan["bytes"]))
            self.assertGreater(done["made"], 2900)
            self.assertAlmostEqual(plan["peak_memory"] / done["peak_memory"], 1, delta=0.05)
            shutil.rmtree(self.work / "out")

    def test_a_union_lets_go_of_the_rows_that_it_has_read_and_its_plan_counts_tokenizers(self):
        rng = random.Random(6)
        words = ["".join(rng.choices("abcdefghijklmnop", k=8)) for _ in range(4000)]
        self.wordy("a", words[:3000], 16384)   # 100 MB
        self.wordy("b", words[1000:], 16384)
        self.recipe("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\ntokenizer_source: union\n")
        plan = self.json("merge", "r.yml", "out", "--plan")
        done = self.json("merge", "r.yml", "out")
        self.assertLess(done["peak_memory"], 90 << 20)
        self.assertAlmostEqual(plan["peak_memory"] / done["peak_memory"], 1, delta=0.2)
        error = self.run_lancet("merge", "r.yml", "out", "--force", "--memory", "8MiB", code=6).stderr
        self.assertRegex(error, r"hint: give --memory \d+MiB")

    def test_wrong_options_are_named(self):
        for arguments, pattern in [(["--method", "opm"], "did you mean 'omp'"), (["--method", "zero"], "mean is the neutral choice"),
                                   (["--k", "0"], "--k"), (["--map", "x"], "DONOR_TOKEN=MODEL_TOKEN"), (["--prefix-match", "maybe"], "embedding"),
                                   (["--method", "mean", "--k", "4"], "--method omp"), (["--method", "subword", "--unit-atoms"], "--method omp"),
                                   (["--method", "mean", "--subword", "sum"], "--method subword"), (["--map", "nowhere=a"], "nowhere"), (["--report", "there.jsonl"], "there.jsonl")]:
            (self.work / "there.jsonl").write_text("mine")
            done = self.run_lancet("graft-tokens", "../a", "../b", "-o", "out", *arguments, code=2)
            self.assertIn(pattern, done.stderr)
            self.assertEqual([p.name for p in self.work.iterdir()], ["there.jsonl"])


class Mixtures(Shell):
    EXPERTS = "experts:\n  - {source_model: ../a, positive_prompts: [France]}\n  - {source_model: ../b, positive_prompts: [Rome]}\n"

    def refused(self, code, pattern, text):
        done = self.run_lancet("moe", self.recipe(text), "out", code=code)
        self.assertRegex(done.stderr, pattern)
        self.assertNotIn("error: merge:", done.stderr)
        self.assertFalse((self.work / "out").exists())

    def test_a_shared_expert_without_a_gate_takes_no_prompts(self):
        recipe = "base_model: ../base\narchitecture: deepseek\ngate_mode: cheap_embed\nshared_experts: [{{source_model: ../a{}}}]\n"
        self.refused(2, r"r\.yml:4:18: expected no prompts for the shared expert of deepseek",
                     recipe.format(", positive_prompts: [x]") + self.EXPERTS)
        recipe = self.recipe(recipe.format("") + self.EXPERTS)
        self.run_lancet("moe", recipe, "out")
        names = {t["name"] for t in self.json("inspect", "out", "--tensors")["tensors"]}
        self.assertIn("model.layers.0.mlp.shared_experts.up_proj.weight", names)

    def test_a_mixture_has_experts_router_and_config_and_the_same_seed_gives_the_same_bytes(self):
        recipe = self.recipe("base_model: ../base\ngate_mode: random\n" + self.EXPERTS)
        result = self.json("moe", recipe, "out", "--seed", "7")
        self.assertEqual(result["architecture"], "MixtralForCausalLM")
        config = json.loads((self.work / "out" / "config.json").read_text())
        self.assertEqual((config["model_type"], config["num_local_experts"], config["num_experts_per_tok"]), ("mixtral", 2, 2))
        names = {t["name"] for t in self.json("inspect", "out", "--tensors")["tensors"]}
        self.assertIn("model.layers.0.block_sparse_moe.experts.1.w2.weight", names)
        self.assertFalse([n for n in names if ".mlp." in n])
        self.run_lancet("verify", "out")
        self.run_lancet("moe", recipe, "again", "--seed", "7", "--threads", "1")
        self.run_lancet("moe", recipe, "other", "--seed", "8")
        self.assertEqual(weights(self.work / "out"), weights(self.work / "again"))
        self.assertNotEqual(weights(self.work / "out"), weights(self.work / "other"))

    def test_recipes_are_strict_and_plans_write_nothing(self):
        base = "base_model: ../base\ngate_mode: cheap_embed\n"
        self.refused(2, r"r\.yml:2:1: unknown key 'gate_mod'", "base_model: ../base\ngate_mod: random\n" + self.EXPERTS)
        self.refused(2, r"gate_mode.*'hiden'\n.*hidden", "base_model: ../base\ngate_mode: hiden\n" + self.EXPERTS)
        self.refused(2, "at most 1 shared", "base_model: ../base\ngate_mode: random\narchitecture: deepseek\nshared_experts: "
                     "[{source_model: ../a}, {source_model: ../b}]\n" + self.EXPERTS)
        self.refused(2, "experts_per_token: expected at most the 2", base + "experts_per_token: 3\n" + self.EXPERTS)
        self.refused(2, "positive_prompts", base + "experts: [{source_model: ../a}]\n")
        self.refused(2, "0 shared experts", base + "shared_experts: [{source_model: ../a, positive_prompts: [x]}]\n" + self.EXPERTS)
        self.refused(3, "expected the model", "base_model: ../nowhere\ngate_mode: random\n" + self.EXPERTS)
        for mode in ("", "gate_mode: cheap_embed\n"):   # hidden states are not computed for a plan
            plan = self.json("moe", self.recipe("base_model: ../base\n" + mode + self.EXPERTS), "out", "--plan")
            self.assertTrue(plan["plan"] and plan["bytes"] > 0 and plan["seconds"] > 0)
            self.assertEqual([p.name for p in self.work.iterdir()], ["r.yml"])

    def test_an_expert_with_more_layers_is_refused_and_random_gates_take_empty_prompts(self):
        tiny_model.write_model(self.work / "deep", layers=3, seed=5)
        self.refused(4, r"model\.layers\.2\.mlp", "base_model: ../base\ngate_mode: random\nexperts: [{source_model: ../a}, {source_model: deep}]\n")
        recipe = self.recipe("base_model: ../base\ngate_mode: random\nexperts:\n"
                             "  - {source_model: ../a, positive_prompts: []}\n  - {source_model: ../b, positive_prompts: []}\n")
        plan = self.run_lancet("moe", recipe, "out", "--plan")
        self.assertRegex(plan.stdout, r"peak memory \d.*, about \d")
        self.run_lancet("moe", recipe, "out")

    def test_gates_from_hidden_states_are_mergekits_default_and_warn_of_experts_that_look_alike(self):
        done = self.run_lancet("moe", self.recipe("base_model: ../base\n" + self.EXPERTS), "out", "--device", "cpu")
        self.assertNotIn("apart", done.stderr)
        same = self.EXPERTS.replace("Rome", "France")
        done = self.run_lancet("moe", self.recipe("base_model: ../base\ngate_mode: hidden_avg\n" + same), "out2", "--device", "cpu")
        self.assertIn("hardly tells experts 0 and 1 apart (cosine 1.000", done.stderr)

    def test_damaged_models_are_refused_and_leave_nothing(self):
        base = "base_model: ../base\ngate_mode: random\n"
        for key, value in (("num_hidden_layers", "two"), ("intermediate_size", None), ("model_type", 7)):
            broken = self.work / "broken"
            shutil.copytree(self.root / "base", broken)
            config = json.loads((broken / "config.json").read_text())
            config[key] = value
            if value is None:
                del config[key]
            (broken / "config.json").write_text(json.dumps(config))
            self.refused(3, key, "base_model: broken\ngate_mode: random\n" + self.EXPERTS)
            shutil.rmtree(broken)
        shutil.copytree(self.root / "a", self.work / "cut")
        weights_file = self.work / "cut" / "model.safetensors"
        weights_file.write_bytes(weights_file.read_bytes()[:-8])
        self.refused(3, "model.safetensors", base + "experts: [{source_model: cut}, {source_model: ../b}]\n")
        self.refused(2, "'no_such_key'", base + self.EXPERTS + "no_such_key: 1\n")

    def test_a_report_that_exists_is_refused_before_the_merge(self):
        (self.work / "map.html").write_text("mine")
        recipe = self.recipe("merge_method: linear\nparameters: {weight: 1}\nmodels:\n  - model: ../a\n  - model: ../b\n")
        self.run_lancet("merge", recipe, "out", "--report", "map.html", code=2)
        self.assertFalse((self.work / "out").exists())
        self.assertEqual((self.work / "map.html").read_text(), "mine")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)

#!/usr/bin/env python3
"""lancet merge --check: recipes of every form that are accepted, and every mistake that is known to pass elsewhere.

Usage: merge_check_test.py LANCET [unittest args]. Nothing here may write a file.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
TWO = "models: [{model: a, parameters: {weight: 0.5}}, {model: b, parameters: {weight: 0.5}}]\n"
SLICES = "slices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n  - sources: [{model: b, layer_range: [%s]}]\n"
ON_BASE = "base_model: base\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5"

GOOD = {
    "models": "merge_method: linear\n" + TWO,
    "a bare filter": "merge_method: linear\nmodels: [{model: a, parameters: {weight: {filter: mlp, value: 1}}}]\n"
                     "parameters: {weight: 0.3}\n",
    "filters, globs, gradients": "merge_method: ties\nbase_model: base\nmodels:\n  - model: a\n    parameters:\n      weight:\n"
                                 "        - {filter: self_attn, value: [0, 1]}\n        - {filter: '*.mlp.*', value: 0.3}\n"
                                 "        - {filter: /norm/, value: 0.1}\n        - {value: 0.5}\n      density: [0.2, 0.8]\n",
    "the same model twice": "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.2}}, {model: a, parameters: {weight: 0.8}}]\n",
    "a path with + and @": "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: x+y@z}, {model: a}]\n",
    "mergekit's long form of a model": "merge_method: linear\nparameters: {weight: 1}\n"
                                       "models: [{model: {model: {path: a, revision: null}, lora: null}}, {model: {model: {path: b}}}]\n",
    "slices": "merge_method: passthrough\n" + SLICES % "1, 2",
    "modules": "merge_method: linear\nmodules: {default: {models: [{model: a}, {model: b}]}}\nparameters: {weight: 1}\n",
    "several documents": "name: first\nmerge_method: linear\n" + TWO + "---\nmerge_method: slerp\nbase_model: first\nmodels: [{model: b}]\n"
                         "parameters: {t: 0.5}\n",
    "torch dtype": "merge_method: linear\ndtype: torch.bfloat16\nout_dtype: float16\n" + TWO,
    "a union of tokens": "merge_method: linear\ntokenizer_source: union\n" + TWO,
    "the tokenizer of a model, as first written": "merge_method: linear\ntokenizer_source: model:b\n" + TWO,
    "tokens": "merge_method: linear\ntokenizer: {source: union, pad_to_multiple_of: 8}\n" + TWO,
    "a chat template": "merge_method: linear\nchat_template: chatml\n" + TWO,
    "an expression": "expression: base + 0.6*(a - base) + ties(b - base; density=0.5)\nmodels: {base: base, a: a, b: b}\n",
    "one layer": "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 1], parameters: {weight: 1}}]}]\n",
}

# text, exit code, what is said
BAD = {
    "unknown key": ("merge_method: linear\nnormalise: true\n" + TWO, 2, r"r\.yml:2:1: unknown key 'normalise'"),
    "unknown parameter": ("merge_method: ties\n" + ON_BASE + ", densty: 0.5}\n", 2, r"r\.yml:4:.*'densty'[\s\S]*density"),
    "unknown method": ("merge_method: tise\n" + TWO, 2, r"r\.yml:1:15.*'tise'[\s\S]*ties"),
    "weight beside the model": ("merge_method: linear\nmodels: [{model: a, weight: 1}]\n", 2, "unknown key 'weight'"),
    "a parameter that is missing": ("merge_method: linear\nmodels: [{model: a}, {model: b}]\n", 2, "weight"),
    "NaN": ("merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: .nan}\n", 2, r"r\.yml:3:"),
    "density above 1": ("merge_method: ties\n" + ON_BASE + ", density: 2}\n", 2, r"\[0, 1\], found '2'"),
    "density below 0": ("merge_method: ties\n" + ON_BASE + ", density: -0.5}\n", 2, r"\[0, 1\]"),
    "t above 1": ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 2}\n", 2, r"\[0, 1\]"),
    "an empty range": ("merge_method: passthrough\n" + SLICES % "1, 1", 2, "begin < end"),
    "a range that ends before it begins": ("merge_method: passthrough\n" + SLICES % "2, 0", 2, "begin < end"),
    "a range to -1": ("merge_method: passthrough\n" + SLICES % "0, -1", 2, r"r\.yml:"),
    "a range past the end": ("merge_method: passthrough\n" + SLICES % "0, 99", 2, "at most 2"),
    "no base": ("merge_method: ties\nmodels: [{model: a}]\n", 2, "needs a base_model"),
    "one model too many": ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: base}, {model: a}]\nparameters: {t: 0.5}\n", 2, "slerp"),
    "models and slices": ("merge_method: linear\n" + TWO + SLICES % "0, 1", 2, "exactly one of models, slices and modules"),
    "both tokenizer keys": ("merge_method: linear\ntokenizer_source: union\ntokenizer: {source: base}\n" + TWO, 2, "found both"),
    "an unknown dtype": ("merge_method: linear\ndtype: float8\n" + TWO, 2, "dtype"),
    "an unknown template": ("merge_method: linear\nchat_template: chatlm\n" + TWO, 2, r"r\.yml:2:16: chat_template[\s\S]*chatml"),
    "a template that is no Jinja": ("merge_method: linear\nchat_template: '{% for m in messages %}{{ m.content }'\n" + TWO, 2,
                                    r"r\.yml:2:16: chat_template: line 1"),
    "a tokenizer source that is nearly a word": ("merge_method: linear\n" + TWO + "tokenizer_source: unionn\n", 2,
                                                 r"r\.yml:3:19:.*'unionn'[\s\S]*did you mean 'union'"),
    "weights that cancel in one layer": ("merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 1}}\n  - model: b\n    parameters:\n"
                                         "      weight: [{filter: layers.1, value: -1}, {value: 1}]\n", 2,
                                         r"r\.yml:3:37: tensor '.*layers\.1\..*': expected weights with a sum"),
    "normalized weights of multislerp that cancel": ("merge_method: multislerp\nmodels: [{model: a, parameters: {weight: 1}}, "
                                                     "{model: b, parameters: {weight: -1}}]\n", 2, r"r\.yml:2:\d+: tensor.*sum to divide by"),
    "chances below 0": ("merge_method: della\nbase_model: base\nmodels: [{model: a}, {model: b, parameters: {density: 0.1}}]\n"
                        "parameters: {weight: 1, density: 0.5, epsilon: 0.15}\n", 2,
                        r"r\.yml:3:55: tensor.*density - epsilon[\s\S]*epsilon is at most 0\.1"),
    "a path without one": ("merge_method: linear\nmodels: [{model: {model: {pth: a}}, parameters: {weight: 1}}]\n", 2, "'pth'[\\s\\S]*path"),
    "no model": ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: nowhere}]\n", 3, "nowhere"),
    "other shapes": ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: wide}]\n", 4, "'a'[\\s\\S]*'wide'|'wide'[\\s\\S]*'a'"),
    "another architecture": ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: other}]\n", 4, "architecture"),
    "a shard outside the folder": ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: outside}]\n", 3, "outside"),
    "no YAML": ("a: [", 2, r"r\.yml:1"),
    "a name used twice": ("name: x\nmerge_method: linear\n" + TWO + "---\nname: x\nmerge_method: linear\n" + TWO, 2, "'x'"),
    "stages in a circle": ("name: x\nmerge_method: linear\nparameters: {weight: 1}\nmodels: [{model: y}]\n---\nname: y\n"
                           "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: x}]\n", 2, "x|y"),
}

WARNED = {
    "a seed in the recipe": ("merge_method: linear\n" + TWO + "random_seed: 0\n", r"r\.yml:3:14: random_seed: has no effect.*--seed"),
    "what no method reads": ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5, embed_slerp: true, int8_mask: true}\n",
                             r"embed_slerp: has no effect with the method slerp[\s\S]*int8_mask: has no effect"),
    "a filter that matches nothing": ("merge_method: linear\nmodels: [{model: a, parameters: {weight: [{filter: mpl, value: 1}, {value: 0.5}]}}]\n",
                                      "mpl"),
    "a gradient on one layer": ("merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 1], parameters: {weight: [0.5, 1]}}]}]\n",
                                "gradient|one layer"),
    "a key that never had an effect": ("merge_method: linear\nslices: [{residual_weight: 0.5, sources: [{model: a, layer_range: [0, 2], "
                                       "parameters: {weight: 1}}]}]\n", "residual_weight"),
}


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-check-"))
        for seed, name in enumerate(("base", "a", "b", "x+y@z")):
            tiny_model.write_model(cls.root / name, seed=seed)
        for name, key, value in (("wide", None, None), ("other", "model_type", "gpt2")):
            tiny_model.write_model(cls.root / name, seed=9, d_model=48 if name == "wide" else 32)
            config = json.loads((cls.root / name / "config.json").read_text())
            if key:
                config[key] = value
            (cls.root / name / "config.json").write_text(json.dumps(config))
        shutil.copytree(cls.root / "a", cls.root / "outside")
        (cls.root / "outside" / "model.safetensors").unlink()
        names = json.loads(subprocess.run([LANCET, "inspect", cls.root / "a", "--tensors", "--json"], capture_output=True, text=True).stdout)
        (cls.root / "outside" / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {}, "weight_map": {t["name"]: "../a/model.safetensors" for t in names["tensors"]}}))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def check(self, text):
        (self.root / "r.yml").write_text(text)
        before = sorted(str(p) for p in self.root.rglob("*"))
        done = subprocess.run([LANCET, "merge", self.root / "r.yml", "--check"], capture_output=True, text=True, timeout=60)
        self.assertEqual(sorted(str(p) for p in self.root.rglob("*")), before, "--check wrote something")
        return done

    def test_recipes_of_every_form_are_accepted(self):
        for name, text in GOOD.items():
            with self.subTest(name):
                done = self.check(text)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_mistakes_are_refused_with_their_place(self):
        for name, (text, code, pattern) in BAD.items():
            with self.subTest(name):
                done = self.check(text)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertRegex(done.stderr, pattern)

    def test_options_that_would_have_no_effect_are_refused(self):
        (self.root / "r.yml").write_text(GOOD["models"])
        linear = ["--method", "linear", "--models", "a", "b", "--set", "weight=1"]
        for line, pattern in [(["r.yml", "out", "--set", "weight=3"], "--set: expected --method"),
                              (["r.yml", "out", "--models", "a"], "--models: expected --method"),
                              (["r.yml", "out", "--base", "a"], "--base: expected --method"),
                              (["r.yml", "out", "--part", "1/2", "--join"], "one of --part and --join"),
                              ([*linear, "normalize=false", "out"], "'normalize=false' and 'out'\n.*--set a=1 --set b=2"),
                              ([*linear, "--base", "base", "out"], "--base: linear merges no base")]:
            with self.subTest(line):
                done = subprocess.run([LANCET, "merge", *line], cwd=self.root, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(done.stderr, pattern)
        self.assertFalse((self.root / "out").exists())

    def test_what_has_no_effect_is_a_warning(self):
        for name, (text, pattern) in WARNED.items():
            with self.subTest(name):
                done = self.check(text)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stderr, pattern)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)

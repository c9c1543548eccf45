#!/usr/bin/env python3
"""lancet locate and covariance at the shell. Usage: locate_test.py LANCET [unittest args]."""
import ast
import hashlib
import json
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
FACT = ("--prompt", "The capital of {} is", "--subject", "France")


def read_npy(data):
    """(shape, values) of a version 1.0 array of <f8, <i8 or <U."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    length = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + length].decode())
    assert not head["fortran_order"] and (10 + length) % 64 == 0
    body, kind = data[10 + length:], head["descr"]
    if kind[1] == "U":
        size = int(kind[2:]) * 4
        return head["shape"], [body[i:i + size].decode("utf-32-le").rstrip("\0") for i in range(0, len(body), size)]
    code, size = {"<f8": ("d", 8), "<i8": ("q", 8), "<f4": ("f", 4)}[kind]
    return head["shape"], list(struct.unpack(f"<{len(body) // size}{code}", body))


def read_npz(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None  # checks the CRC of every member
        return {name.removesuffix(".npy"): read_npy(archive.read(name)) for name in archive.namelist()}


class Locate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-locate-"))
        tiny_model.write_model(cls.root / "m", seed=3)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def lancet(self, *args, code=0):
        done = subprocess.run([str(LANCET), *map(str, args), "--device", "cpu"], capture_output=True, text=True,
                              cwd=self.work, timeout=300)
        self.assertEqual(done.returncode, code, f"lancet {args}\n{done.stdout}\n{done.stderr}")
        return done

    def found(self, *args):
        return json.loads(self.lancet("locate", *args, "--json").stdout)

    def check_page(self, path, pictures):
        page = (self.work / path).read_text(encoding="utf-8")
        self.assertEqual(page.count("<svg"), pictures)
        for outside in ("<script", "src=", "href=", "url(", "@import"):
            self.assertNotIn(outside, page)
        return page

    def test_a_trace_says_tokens_layers_scores_and_what_it_cost(self):
        d = self.found("trace", "../m", *FACT, "--samples", 3, "--report", "t.html", "--npz", "t.npz")
        layers, tokens = d["layers"], len(d["tokens"])
        self.assertEqual("".join(d["tokens"]), "The capital of France is")
        first, last = d["subject_tokens"]
        self.assertEqual("".join(d["tokens"][first:last + 1]).strip(), "France")
        self.assertEqual([m["kind"] for m in d["maps"]], ["hidden", "mlp", "attention"])
        for m in d["maps"]:
            self.assertEqual([len(m["scores"]), len(m["scores"][0])], [tokens, layers])
            for token in range(first):  # nothing is corrupted there yet
                self.assertEqual(m["scores"][token], [d["low"]] * layers)
        self.assertAlmostEqual(d["scores"][-1][-1], d["high"], places=5)
        self.assertEqual(sorted(r["layer"] for r in d["ranking"]), list(range(layers)))
        self.assertEqual(d["work"]["plain_layer_calls"], 3 * tokens * layers * layers)
        self.assertGreater(d["work"]["fewer_calls"], 1)
        self.assertIn("p(answer)", self.check_page("t.html", 3))
        arrays = read_npz(self.work / "t.npz")
        self.assertEqual(arrays["scores"][0], (tokens, layers))
        self.assertEqual(arrays["scores"][1], [x for row in d["scores"] for x in row])
        self.assertEqual(arrays["input_tokens"][1], d["tokens"])
        self.assertEqual(arrays["subject_range"][1], [first, last + 1])
        self.assertEqual(arrays["kind"], ((), ["hidden"]))

    def test_the_same_seed_gives_the_same_scores_and_another_one_others(self):
        def scores(*more):
            return self.found("trace", "../m", *FACT, "--kind", "hidden", "--samples", 2, *more)["scores"]
        self.assertEqual(scores("--threads", 1), scores("--threads", 2))
        self.assertNotEqual(scores(), scores("--seed", 5))

    def test_severed_kinds_and_windows_are_taken_and_wrong_ones_named(self):
        d = self.found("trace", "../m", *FACT, "--kind", "severed_mlp,severed_attention,mlp", "--window", 1, "--samples", 1)
        self.assertEqual([(m["kind"], m["window"]) for m in d["maps"]],
                         [("severed_mlp", 1), ("severed_attention", 1), ("mlp", 1)])
        self.assertIn("did you mean 'attention'", self.lancet("locate", "trace", "../m", *FACT, "--kind", "atention",
                                                              code=2).stderr)
        self.lancet("locate", "patch", "../m", *FACT, "--kind", "severed_mlp", code=2)

    def test_bad_prompts_are_refused_with_the_reason(self):
        def refusal(*args):
            return self.lancet("locate", "trace", "../m", *args, code=2).stderr
        self.assertIn("expected the subject 'Spain'", refusal("--prompt", "The capital of France is", "--subject", "Spain"))
        self.assertIn("more than once", refusal("--prompt", "France is France", "--subject", "France"))
        self.assertIn("expected a subject", refusal("--prompt", "The capital"))
        self.assertIn("expected --prompt", refusal())
        self.assertIn("empty", refusal(*FACT, "--target", ""))
        self.assertIn("expected a model", self.lancet("locate", "trace", "../none", *FACT, code=3).stderr)
        sweep = self.lancet("locate", "sweep", "../m", *FACT, "--target", "Rome", "--layers", "99", code=2).stderr
        self.assertIn("error: locate: --layers", sweep)
        for verb in ("lens", "trace", "neurons"):
            self.assertIn("subject", self.lancet("locate", verb, "../m", "--prompt", "The capital of {} is", code=2).stderr)
        self.assertIn("--report and --npz", self.lancet("locate", "lens", "../m", "--prompt", "France is", "--report", "x",
                                                        "--npz", "./x", code=2).stderr)
        self.assertIn("error: covariance: --layers", self.lancet("covariance", "../m", "--layers", "99", "--self-generated", 10,
                                                                "-o", "s", code=2).stderr)
        self.lancet("locate", "trace", "../m", *FACT, "--samples", 0, code=2)
        self.lancet("locate", code=2)

    def test_subjects_at_the_start_alone_and_in_other_scripts(self):
        one = self.found("trace", "../m", "--prompt", "{}", "--subject", "Paris", "--kind", "hidden")
        self.assertEqual(one["tokens"], ["Paris"])
        self.assertAlmostEqual(one["scores"][0][0], one["high"], places=5)
        start = self.found("trace", "../m", "--prompt", "{} is the capital of", "--subject", "Paris", "--kind", "mlp")
        self.assertEqual(start["subject_tokens"], [0, 0])
        cjk = self.found("trace", "../m", "--prompt", "法国的首都是", "--subject", "法国", "--target", "巴黎", "--kind", "hidden")
        self.assertEqual(cjk["subject_tokens"], [0, 5])  # bytes of two characters
        self.assertTrue(0 < cjk["high"] < 1e-3)  # the product over six tokens
        self.assertEqual(len(cjk["tokens"]), 18)  # the target's own tokens are read, not restored

    def test_a_sweep_over_a_file_leaves_out_a_subject_without_a_token_of_its_own(self):
        (self.work / "f.jsonl").write_text(
            '{"id":"cut","subject":"Fran","prompt":"The capital of {}ce is","target":"Rome"}\n'
            '{"id":"whole","subject":"France","prompt":"The capital of {} is","target":"Rome"}\n')
        d = self.found("sweep", "../m", "--requests", "f.jsonl", "--layers", 1)
        self.assertEqual((d["facts"], [s["id"] for s in d["skipped"]]), (1, ["cut"]))
        self.assertIn("key 'subject'", d["skipped"][0]["reason"])

    def test_patching_estimates_all_cells_and_is_compared_with_the_exact_ones(self):
        d = self.found("patch", "../m", *FACT, "--exact", "--samples", 4, "--steps", 4, "--report", "p.html")
        for m in d["maps"]:
            self.assertEqual(len(m["exact"]), len(m["scores"]))
            self.assertGreaterEqual(m["agreement"]["pearson"], -1)
        self.check_page("p.html", 6)

    def test_the_lens_ends_in_the_models_own_words(self):
        d = self.found("lens", "../m", "--prompt", "The capital of France is", "--report", "l.html", "--npz", "l.npz")
        self.assertEqual(len(d["scores"][0]), d["layers"] + 1)
        self.assertEqual(d["ranks"][-1][-1], 1)
        self.assertEqual(d["top"][-1][-1][0]["token"], d["target_token"])
        self.check_page("l.html", 1)
        self.assertEqual(read_npz(self.work / "l.npz")["ranks"][0], (len(d["tokens"]), d["layers"] + 1))

    def test_neurons_are_checked_against_random_ones(self):
        d = self.found("neurons", "../m", *FACT, "--paraphrase", "France, whose capital is", "--steps", 4,
                       "--report", "n.html", "--npz", "n.npz")
        self.assertEqual(len(d["prompts"]), 2)
        self.assertTrue(0 < len(d["units"]) <= 20)
        self.assertLess(d["prompts"][0]["suppressed"], d["prompts"][0]["p"])
        self.check_page("n.html", 1)

    def test_a_file_of_facts_gives_averages_by_role_and_says_what_was_left_out(self):
        records = [{"id": "a", "subject": "France", "prompt": "The capital of {} is", "target": "x"},
                   {"id": "b", "subject": "Rome", "prompt": "The language of {} is", "target": "x"},
                   {"id": "c", "subject": "Rome", "prompt": "The language of {} is", "target": "x", "true": "zzz"}]
        (self.work / "f.jsonl").write_text("\n".join(map(json.dumps, records)))
        d = self.found("trace", "../m", "--requests", "f.jsonl", "--samples", 2, "--report", "b.html", "--npz", "b.npz")
        self.assertEqual([f["id"] for f in d["facts"]], ["a", "b"])
        self.assertEqual(d["skipped"], [{"id": "c", "reason": "the model does not say the answer"}])
        roles = {r["role"]: r for r in d["averages"][0]["roles"]}
        last = roles["last token"]
        self.assertEqual(last["facts"], 2)
        mean = sum(f["scores"][-1][-1] - f["low"] for f in d["facts"]) / 2
        self.assertAlmostEqual(last["effect"][-1], mean)
        self.check_page("b.html", 6)
        self.assertIn("b.scores", read_npz(self.work / "b.npz"))
        (self.work / "twice.jsonl").write_text("\n".join(json.dumps(records[0]) for _ in range(2)))
        self.assertIn("two facts have the id 'a'",
                      self.lancet("locate", "trace", "../m", "--requests", "twice.jsonl", code=2).stderr)
        everything = self.found("trace", "../m", "--requests", "f.jsonl", "--samples", 1, "--kind", "hidden", "--all-facts")
        self.assertEqual(len(everything["facts"]), 3)

    def test_a_sweep_names_a_layer(self):
        d = self.found("sweep", "../m", *FACT, "--target", "Rome", "--layers", "0-1", "--report", "s.html")
        self.assertEqual([t["layer"] for t in d["trials"]], [0, 1])
        self.assertIn(d["best"], (0, 1))
        self.check_page("s.html", 2)
        done = self.lancet("locate", "sweep", "../m", *FACT, "--target", "Rome", "--layers", 1, "--method", "ft", "--json")
        self.assertEqual(json.loads(done.stdout)["method"], "rome")
        self.assertIn("ft has no quick edit", done.stderr)

    def test_a_report_shows_a_prompt_whose_letters_are_several_tokens(self):
        d = self.found("trace", "../m", "--prompt", "Αθήνα, {} και", "--subject", "Αθήνα", "--samples", 1, "--kind", "hidden", "--report", "g.html")
        self.assertEqual(d["prompt"].encode()[slice(*d["subject_bytes"])].decode(), "Αθήνα")
        self.assertGreater(d["subject_bytes"][0], 0)
        self.assertIn("Αθήνα, <b>Αθήνα</b> και", (self.work / "g.html").read_text())

    def test_statistics_serve_an_edit_and_resume_after_a_kill(self):
        words = ["The capital of France is Paris.", "Rome is old.", "The river is long and the sea is wide."]
        text = "\n\n".join(f"{words[i % 3]} {i}" for i in range(60000))
        (self.work / "t.txt").write_text(text)
        command = ["covariance", "../m", "--layers", "0-1", "--text", "t.txt", "--window", "64"]
        whole = json.loads(self.lancet(*command, "-o", "a.safetensors", "--export-npz", "npz", "--json").stdout)
        self.assertEqual(whole["documents"], 60000)
        self.assertEqual(len(whole["exported"]), 2)
        sums = read_npz(whole["exported"][0] if pathlib.Path(whole["exported"][0]).is_absolute()
                        else self.work / whole["exported"][0])
        self.assertEqual(sums["mom2.count"], ((), [whole["tokens"]]))
        self.assertEqual(self.lancet(*command, "-o", "a.safetensors", code=2).returncode, 2)
        killed = subprocess.Popen([str(LANCET), *command, "-o", "b.safetensors"], cwd=self.work, stderr=subprocess.PIPE)
        while not (self.work / "b.safetensors.partial").exists():
            self.assertIsNone(killed.poll(), "it ended before its first checkpoint")
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
        self.assertFalse((self.work / "b.safetensors").exists())
        rest = json.loads(self.lancet(*command, "-o", "b.safetensors", "--json").stdout)
        self.assertTrue(0 < rest["resumed_tokens"] < rest["tokens"])
        self.assertFalse((self.work / "b.safetensors.partial").exists())
        self.assertEqual((self.work / "a.safetensors").read_bytes(), (self.work / "b.safetensors").read_bytes())
        manifest = json.loads((self.work / "a.safetensors.lancet.json").read_text())
        self.assertEqual(manifest["outputs"][0]["sha256"],
                         hashlib.sha256((self.work / "a.safetensors").read_bytes()).hexdigest())
        plan = json.loads(self.lancet(*command, "-o", "c.safetensors", "--plan", "--json").stdout)
        self.assertEqual(plan["layers"], [0, 1])
        self.assertFalse((self.work / "c.safetensors").exists())
        done = subprocess.run([str(LANCET), "edit", "../m", *FACT, "--target", "Rome", "--layers", "1", "--covariance",
                               "a.safetensors", "--delta", "d.safetensors", "--no-guards"], cwd=self.work,
                              capture_output=True, text=True, timeout=300)
        self.assertIn(done.returncode, (0, 7), done.stderr)  # 7: a random model need not take the edit
        self.assertTrue((self.work / "d.safetensors").exists())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

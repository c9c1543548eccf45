#!/usr/bin/env python3
"""`lancet curate` as a person sees it: options, order of filters, exit codes, files, a kill in the middle.

    curate_test.py LANCET
"""
import hashlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import tiny_model

LANCET = None


class Curate(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)

    def tearDown(self):
        self.scratch.cleanup()

    def lancet(self, *args, code=0):
        done = subprocess.run([LANCET, "curate", *map(str, args)], capture_output=True, text=True, cwd=self.folder)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def rows(self, name, rows):
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    def read(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def test_filters_run_in_the_order_told_in_the_help(self):
        self.rows("in.jsonl", [{"text": f"row {i % 7} of some length"} for i in range(20)])
        self.rows("test.jsonl", [{"question": "row 3 of some length, is it?"}, {"question": "row 4 of some length"}])
        done = self.lancet("in.jsonl", "-o", "out.jsonl", "--dedup", "exact", "--decontaminate", "test.jsonl",
                           "--filter", "diversity:keep=4", "--filter", "length:min_words=2", "--filter",
                           "decontaminate:set=test.jsonl,shortest=4,rouge=0", "--json")
        result = json.loads(done.stdout)
        self.assertEqual([f["name"] for f in result["filters"]], ["length", "decontaminate", "decontaminate", "exact", "diversity"])
        self.assertEqual(result["rows_written"], 4)
        self.assertEqual(result["filters"][1]["dropped"], 3)  # row 4, at 4, 11, 18
        self.assertNotIn("row 4 of some length", [row["text"] for row in self.read("out.jsonl")])

    def test_a_test_set_that_nothing_is_checked_against_is_told(self):
        self.rows("in.jsonl", [{"text": "one two three four"}])
        self.rows("test.jsonl", [{"question": "one two three"}, {"question": "four"}])
        done = self.lancet("in.jsonl", "-o", "a.jsonl", "--decontaminate", "test.jsonl")
        self.assertIn("all of its 2 items have fewer than 6 words", done.stderr)
        # Settings and sets given apart are one filter.
        done = self.lancet("in.jsonl", "-o", "b.jsonl", "--decontaminate", "test.jsonl", "--filter", "decontaminate:shortest=3",
                           "--json")
        self.assertNotIn("warning", done.stderr)
        filters = json.loads(done.stdout)["filters"]
        self.assertEqual([(f["name"], f["settings"]["shortest"], f["dropped"]) for f in filters], [("decontaminate", 3, 1)])

    def test_dedup_takes_settings(self):
        self.rows("in.jsonl", [{"prompt": "same", "completion": str(i)} for i in range(5)])
        self.lancet("in.jsonl", "-o", "a.jsonl", "--dedup", "exact")
        self.lancet("in.jsonl", "-o", "b.jsonl", "--dedup", "exact:part=prompt")
        self.assertEqual((len(self.read("a.jsonl")), len(self.read("b.jsonl"))), (5, 1))

    def test_manifest_holds_hashes_and_every_setting(self):
        self.rows("in.jsonl", [{"text": "one"}])
        self.lancet("in.jsonl", "-o", "out.jsonl", "--filter", "length:min_words=1", "--seed", "5")
        manifest = json.loads((self.folder / "out.jsonl.lancet.json").read_text())
        self.assertEqual(manifest["seed"], 5)
        self.assertEqual(manifest["filters"][0]["settings"]["min_words"], 1)
        for entry, name in ((manifest["inputs"][0], "in.jsonl"), (manifest["outputs"][0], "out.jsonl")):
            self.assertEqual(entry["sha256"], hashlib.sha256((self.folder / name).read_bytes()).hexdigest())

    def test_errors_name_what_is_wrong(self):
        self.rows("in.jsonl", [{"text": "one"}])
        for args, code, words in (
                (("in.jsonl", "-o", "o", "--filter", "lenght:min_words=1"), 2, "did you mean 'length'?"),
                (("in.jsonl", "-o", "o", "--filter", "length:min_wrods=1"), 2, "did you mean 'min_words'?"),
                (("in.jsonl", "-o", "o", "--filter", "length:5"), 2, "key=value"),
                (("in.jsonl", "-o", "o", "--filter", "perplexity:max=9"), 2, "--student MODEL"),
                (("in.jsonl", "-o", "o", "--teacher", "Llama-3.1-405B", "--name", "student"), 2, "begins with \"Llama\""),
                (("in.jsonl", "-o", "o", "--teacher", "gpt-4o"), 2, "--accept-terms-risk"),
                (("in.jsonl", "-o", "o", "--filter", "length:min_words=10,max_words=5"), 2, "min_words to be at most max_words"),
                (("in.jsonl", "-o", "o", "--student", "none", "--filter", "perplexity:max=9"), 3, "none"),
                (("in.jsonl", "-o", "o", "--report", "o"), 2, "written twice"),
                (("in.jsonl", "-o", "o", "--report", "o.lancet.json"), 2, "written twice"),
                (("in.jsonl", "-o", "o", "--report", "./in.jsonl", "--force"), 2, "input and output"),
                (("in.jsonl", "-o", "in.jsonl", "--force"), 2, "input and output"),
                (("none.jsonl", "-o", "o"), 3, "none.jsonl")):
            done = self.lancet(*args, code=code)
            self.assertIn(words, done.stderr)
            self.assertFalse((self.folder / "o").exists())

    def test_plan_writes_nothing(self):
        self.rows("in.jsonl", [{"text": "one"}])
        plan = json.loads(self.lancet("in.jsonl", "-o", "out.jsonl", "--dedup", "minhash", "--plan", "--json").stdout)
        self.assertEqual(plan["filters"][0]["settings"]["permutations"], 128)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["in.jsonl"])

    def test_killed_runs_leave_nothing_under_the_final_name(self):
        self.rows("in.jsonl", [{"text": f"{i} " * 200} for i in range(60000)])
        for sig in (signal.SIGKILL, signal.SIGTERM):
            run = subprocess.Popen([LANCET, "curate", "in.jsonl", "-o", "out.jsonl", "--dedup", "minhash"], cwd=self.folder,
                                   stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            time.sleep(0.3)
            run.send_signal(sig)
            self.assertIn(run.wait(10), (-sig, 130))
            self.assertFalse((self.folder / "out.jsonl").exists())
            self.assertFalse((self.folder / "out.jsonl.lancet.json").exists())
        left = [p.name for p in self.folder.iterdir() if p.name != "in.jsonl"]
        self.assertTrue(all(name.startswith(".out.jsonl.lancet-") for name in left), left)

    def test_a_student_that_no_filter_asks_is_refused(self):
        model = tiny_model.write_model(self.folder / "model")
        self.rows("in.jsonl", [{"text": "one"}])
        self.assertIn("--student", self.lancet("in.jsonl", "-o", "o", "--student", model, code=2).stderr)

    def test_perplexity_is_that_of_score(self):
        tiny_model.write_model(self.folder / "student")
        texts = ["the capital of France", "a b c d e f", "xyz " * 40, "one two three four five six seven", "?!"]
        self.rows("in.jsonl", [{"text": text} for text in texts])
        found = {}
        for text in texts:
            done = subprocess.run([LANCET, "score", self.folder / "student", "--text", text, "--json"], capture_output=True,
                                  text=True, check=True)
            found[text] = json.loads(done.stdout)["perplexity"]
        limit = sorted(found.values())[2] * (1 + 1e-6)
        done = self.lancet("in.jsonl", "-o", "out.jsonl", "--student", "student", "--filter", f"perplexity:max={limit!r}", "--json")
        self.assertEqual([row["text"] for row in self.read("out.jsonl")], [t for t in texts if found[t] <= limit])
        self.assertEqual(json.loads(done.stdout)["rows_written"], 3)

    def test_list_names_every_filter_with_its_parameters(self):
        done = subprocess.run([LANCET, "list", "filters", "--json"], capture_output=True, text=True, check=True)
        names = [f["name"] for f in json.loads(done.stdout)["filters"]]
        folder = pathlib.Path(__file__).resolve().parents[2] / "distill" / "filters"
        self.assertEqual(names, sorted(p.stem for p in folder.glob("*.cpp")))

    def test_blank_lines_take_no_memory_and_count_as_lines(self):
        blank = "\n" * 3_000_000
        (self.folder / "in.jsonl").write_text(blank + '{"text": "a river"}\n' + " \t\r\n" * 7 + "{\n" + blank + '{"text": "a hill"}\n')
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        done = self.lancet("in.jsonl", "-o", "out.jsonl", "--threads", "2", "--filter", "length:min_words=1,max_words=2", code=0)
        self.assertLess(max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), 200_000)
        self.assertIn(":3000009", done.stderr + json.dumps(json.loads((self.folder / "out.jsonl.lancet.json").read_text())))
        self.assertEqual([row["provenance"]["line"] for row in self.read("out.jsonl")], [3_000_001, 6_000_010])

    def test_a_byte_order_mark_is_no_part_of_the_first_row(self):
        (self.folder / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a river"}\r\n{"text": "a hill"}\r\n')
        result = json.loads(self.lancet("in.jsonl", "-o", "out.jsonl", "--json").stdout)
        self.assertEqual((result["rows_written"], result["bad_rows"]), (2, 0))
        self.assertEqual([(row["text"], row["provenance"]["line"]) for row in self.read("out.jsonl")], [("a river", 1), ("a hill", 2)])


if __name__ == "__main__":
    LANCET = os.path.abspath(sys.argv.pop(1))
    unittest.main()

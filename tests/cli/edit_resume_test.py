#!/usr/bin/env python3
"""Batch edits, killed and run again: the bytes of the run that was not. Usage: edit_resume_test.py LANCET [unittest args]."""
import hashlib
import json
import os
import pathlib
import random
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
SUBJECTS = ["the river", "a wide road", "that old house", "my other dog", "one small town", "this new book"]
JOURNAL = ".out.lancet-edit"
OUTPUTS = ["-o", "out", "--delta", "d.safetensors", "--lora", "lora", "--dump", "dump.safetensors"]
METHODS = {  # what each keeps of a turn differs; the last number is of turns
    "memit": (["--batch", "1", "--method-option", "steps=4", "--layers", "0-1"], 6),
    "alphaedit": (["--sequential", "--method-option", "steps=4", "--layers", "0-1", "--method-option", "threshold=1e9",
                   "--covariance", "auto"], 6),
    "rome": (["--sequential", "--method-option", "steps=4", "--layers", "1", "--stop-at", "1000000"], 6),
    "emmet": (["--batch", "2", "--method-option", "steps=4", "--layers", "1"], 3),
    "ft": (["--batch", "2", "--method-option", "steps=3"], 3),
    "lora": (["--batch", "2", "--method-option", "steps=3"], 3),
    "ultraedit": (["--batch", "2"], 3),
}


def hashes(folder):
    """Of every file but lancet.json, which tells the time, and what is not an output."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith("lancet.json"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.name != "facts.jsonl"}


class Editing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-edit-"))
        cls.model = tiny_model.write_model(cls.root / "model", layers=3)
        cls.env = {**os.environ, "LANCET_CACHE": str(cls.root / "cache")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def folder(self):
        work = pathlib.Path(tempfile.mkdtemp(dir=self.root))
        facts = [{"id": f"f{i}", "subject": s, "prompt": "We know that {} is near", "target": "Rome" if i % 2 else "Paris"}
                 for i, s in enumerate(SUBJECTS)]
        (work / "facts.jsonl").write_text("".join(json.dumps(f) + "\n" for f in facts))
        return work

    def command(self, method, *more):
        options = METHODS[method][0]
        if method in ("memit", "rome", "emmet"):
            options = [*options, "--covariance", "none"]
        return [str(LANCET), "edit", str(self.model), "--requests", "facts.jsonl", "--method", method, *options, "--no-guards", *OUTPUTS,
                *more]

    def end(self, work, method, *more, code=None):
        """To its end: exit 0, or 7 where the small model does not say every target."""
        done = subprocess.run([*self.command(method, *more), "--json"], cwd=work, env=self.env, capture_output=True, text=True, timeout=120)
        self.assertIn(done.returncode, (0, 7) if code is None else (code,), done.stdout + done.stderr)
        return json.loads(done.stdout), done.stderr

    def stop(self, work, method, reached, delay=0.0, by=signal.SIGKILL):
        """Stops a run when `reached` is true, or lets it end."""
        process = subprocess.Popen(self.command(method), cwd=work, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not reached():
            time.sleep(0.001)
        time.sleep(delay)
        alive = process.poll() is None
        if alive:
            process.send_signal(by)
        process.wait()
        return alive

    def turns(self, work):
        return len(list((work / JOURNAL).glob("turn-*.done")))

    def reference(self, method):
        work = self.folder()
        result, _ = self.end(work, method)
        self.assertEqual(result["resumed"], 0)
        self.assertTrue((work / "out" / "lancet.undo.safetensors").exists())
        self.assertFalse((work / JOURNAL).exists())
        return hashes(work), result

    def test_every_editor_goes_on_behind_any_batch_to_the_same_bytes(self):
        rng, kills = random.Random(4), 0
        for method, (_, count) in METHODS.items():
            with self.subTest(method=method):
                expected, straight = self.reference(method)
                work = self.folder()
                for turn in range(1, count):
                    kills += self.stop(work, method, lambda turn=turn: self.turns(work) >= turn, rng.uniform(0, 0.01))
                    self.assertFalse((work / "out").exists())
                    self.assertGreaterEqual(self.turns(work), turn)
                before = self.turns(work)
                self.assertLessEqual(len(list((work / JOURNAL).glob("state-*.safetensors"))), 2, "one state, or one more under way")
                result, notes = self.end(work, method)
                self.assertEqual(result["resumed"], before)
                self.assertIn(f"{before} of {count} batches are taken from an earlier run", notes)
                self.assertEqual(hashes(work), expected)
                self.assertEqual(result["edits"], straight["edits"])
                self.assertFalse((work / JOURNAL).exists())
        self.assertGreaterEqual(kills, 20)

    def test_killed_while_it_writes_the_rerun_replaces_what_is_its_own(self):
        rng = random.Random(5)
        expected, _ = self.reference("rome")
        for _ in range(5):
            work = self.folder()
            self.stop(work, "rome", lambda: (work / JOURNAL / "writing").exists(), rng.uniform(0, 0.02))
            if (work / JOURNAL).exists():
                self.assertEqual(self.end(work, "rome")[0]["resumed"], 6)
            self.assertEqual(hashes(work), expected)

    def test_a_changed_command_refuses_says_what_and_restart_begins_anew(self):
        work = self.folder()
        self.assertTrue(self.stop(work, "memit", lambda: self.turns(work) >= 2))
        facts = (work / "facts.jsonl").read_text()
        for more, word in ((["--seed", "5"], "seed"), (["--method-option", "lr=0.25"], "parameters"), (["--stop-at", "900"], "stop-at")):
            error = self.end(work, "memit", *more, code=4)[0]["error"]
            self.assertIn(word, error["message"])
            self.assertIn("--restart", error["hint"])
        (work / "facts.jsonl").write_text(facts.replace("a wide road", "a wide path"))
        self.assertIn("requests", self.end(work, "memit", code=4)[0]["error"]["message"])
        kept = self.turns(work)
        self.assertGreaterEqual(kept, 2)
        self.assertEqual(self.end(work, "memit", "--restart")[0]["resumed"], 0)
        (work / "facts.jsonl").write_text(facts)
        error = self.end(work, "memit", code=2)[0]["error"]
        self.assertIn("exists", error["message"])

    def test_another_model_refuses_and_a_damaged_batch_is_written_again(self):
        expected, _ = self.reference("memit")
        work = self.folder()
        self.assertTrue(self.stop(work, "memit", lambda: self.turns(work) >= 3))
        weights = self.model / "model.safetensors"
        before = weights.read_bytes()
        weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        self.assertIn(str(self.model), self.end(work, "memit", code=4)[0]["error"]["message"])
        weights.write_bytes(before)
        turn = work / JOURNAL / "turn-000002.safetensors"
        data = bytearray(turn.read_bytes())
        data[-1] ^= 1
        turn.write_bytes(data)
        result, notes = self.end(work, "memit")
        self.assertEqual(result["resumed"], 1)
        self.assertIn("turn-000002.safetensors has changed", notes)
        self.assertEqual(hashes(work), expected)

    def test_sigterm_keeps_batches_and_another_run_is_kept_out(self):
        expected, _ = self.reference("rome")
        work = self.folder()
        self.assertTrue(self.stop(work, "rome", lambda: self.turns(work) >= 1, by=signal.SIGTERM))
        first = subprocess.Popen(self.command("rome"), cwd=work, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        had = self.turns(work)
        while first.poll() is None and self.turns(work) <= had:
            time.sleep(0.001)
        first.send_signal(signal.SIGSTOP)
        if (work / JOURNAL).exists() and not (work / "out").exists():
            self.assertIn("another process", self.end(work, "rome", code=6)[0]["error"]["message"])
        first.send_signal(signal.SIGCONT)
        first.wait()
        self.assertEqual(hashes(work), expected)

    def test_one_batch_keeps_nothing_and_somebody_elses_output_is_refused(self):
        work = self.folder()
        (work / "out").mkdir()
        (work / "out" / "mine").write_text("x")
        self.end(work, "rome", code=2)
        shutil.rmtree(work / "out")
        command = [str(LANCET), "edit", str(self.model), "--requests", "facts.jsonl", "--method", "ft", "--delta", "d.safetensors", "--no-guards",
                   "--json"]
        done = subprocess.run(command, cwd=work, env=self.env, capture_output=True, text=True, timeout=120)
        self.assertEqual(json.loads(done.stdout)["resumed"], 0)
        self.assertEqual([p.name for p in work.iterdir() if p.name.startswith(".")], [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)

#!/usr/bin/env python3
"""lancet train at the shell. Usage: train_test.py LANCET [unittest args]."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LANCET = pathlib.Path(sys.argv[1]).resolve()
DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "train"
SMALL = ["--rank", "4", "--dropout", "0.2", "--batch-tokens", "200", "--seed", "3", "--eval-fraction", "0.2",
         "--eval-every", "4"]
STEPS = [*SMALL, "--steps", "12", "--lr", "5e-3"]


class Train(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-train-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def command(self, out, *args, data=DATA / "sft.jsonl"):
        return [str(LANCET), "train", str(DATA / "model"), "--data", str(data), "-o", out, "--device", "cpu",
                *map(str, args)]

    def train(self, out, *args, code=0, **options):
        done = subprocess.run(self.command(out, *args, **options), capture_output=True, text=True, cwd=self.work, timeout=300)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def lines(self, out, *args, **options):
        return [json.loads(line) for line in self.train(out, *args, "--json", **options).stdout.splitlines()]

    def weights(self, out):
        return (self.work / out / "adapter_model.safetensors").read_bytes()

    def test_lines_of_json_and_what_stands_in_the_folder(self):
        lines = self.lines("out", *STEPS, "--log-dir", "log")
        steps = [line for line in lines if "lr" in line]
        self.assertEqual([line["step"] for line in steps], list(range(1, 13)))
        for key in ("loss", "lr", "grad_norm", "tokens", "tokens_per_second", "seconds"):
            self.assertIn(key, steps[0])
        last = lines[-1]
        self.assertTrue(last["done"])
        for key in ("adapter", "steps", "tokens", "final_loss", "eval_loss", "peak_memory"):
            self.assertIn(key, last)
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])
        self.assertLess(last["eval_loss"], last["eval_loss_before"])
        for name in ("adapter_config.json", "adapter_model.safetensors", "README.md", "lancet.json"):
            self.assertTrue((self.work / "out" / name).is_file(), name)
        self.assertFalse((self.work / "out" / "checkpoints").exists())
        self.assertEqual(len((self.work / "log" / "steps.jsonl").read_text().splitlines()), len(lines) - 1)
        verified = subprocess.run([str(LANCET), "verify", f"{DATA / 'model'}+out"], capture_output=True, text=True, cwd=self.work)
        self.assertEqual(verified.stdout, "ok\n")
        self.train("out", *STEPS, code=2)
        self.train("out", *STEPS, "--force")

    def test_the_adapter_changes_what_the_model_says(self):
        self.train("out", *SMALL, "--steps", "12", "--lr", "0.02")
        texts = [subprocess.run([str(LANCET), "generate", model, "--prompt", "blue north?", "--max-tokens", "12", "--json"],
                                capture_output=True, text=True, cwd=self.work, check=True).stdout
                 for model in (str(DATA / "model"), f"{DATA / 'model'}+out")]
        self.assertNotEqual(*[json.loads(text)["text"] for text in texts])

    def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(self):
        self.train("straight", *STEPS)
        process = subprocess.Popen(self.command("killed", *STEPS, "--save-every", "2", "--json", "--threads", "1"),
                                   stdout=subprocess.PIPE, text=True, cwd=self.work)
        for line in process.stdout:
            if json.loads(line).get("step") == 7:
                process.kill()
                break
        process.stdout.close()
        process.wait()
        self.assertFalse((self.work / "killed" / "adapter_config.json").exists())
        self.assertTrue((self.work / "killed" / "checkpoints" / "step-00000006").is_dir())
        rest = [line["step"] for line in self.lines("killed", *STEPS, "--save-every", "2") if "lr" in line]
        self.assertEqual(rest[-1], 12)
        self.assertGreater(rest[0], 6)
        self.assertEqual(self.weights("straight"), self.weights("killed"))
        self.assertEqual(sorted(p.name for p in (self.work / "killed" / "checkpoints").iterdir())[-2:],
                         ["step-00000010", "step-00000012"])

    def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(self):
        self.train("straight", *STEPS)
        options = [*STEPS, "--save-every", "4", "--keep", "3"]
        self.train("out", *options)
        for name in ("adapter_model.safetensors", "adapter_config.json", "lancet.json", "README.md"):
            (self.work / "out" / name).unlink(missing_ok=True)
        checkpoints = self.work / "out" / "checkpoints"
        for step in (8, 12):
            path = checkpoints / f"step-{step:08}" / "optimizer.safetensors"
            path.write_bytes(path.read_bytes()[:100])
        done = self.train("out", *options)
        for step in (8, 12):
            self.assertRegex(done.stderr, f"warning: .*step-{step:08} is damaged .* going on from .*step-00000004")
        self.assertIn("going on after step 4 of 12", done.stderr)
        self.assertEqual(self.weights("straight"), self.weights("out"))
        self.assertGreater((checkpoints / "step-00000012" / "optimizer.safetensors").stat().st_size, 100)
        # None is whole: what to remove is named.
        (self.work / "out" / "adapter_model.safetensors").unlink()
        (self.work / "out" / "adapter_config.json").unlink()
        for path in checkpoints.iterdir():
            (path / "state.json").write_text("{")
        self.assertIn("remove out/checkpoints", self.train("out", *options, code=3).stderr)

    def test_what_is_told_of_a_run_that_stopped_early_is_of_the_saved_step(self):
        options = [*SMALL[:-1], "1", "--patience", "2", "--steps", "60", "--lr", "0.2", "--schedule", "constant"]
        done = self.lines("out", *options)[-1]
        self.assertTrue(done["stopped_early"])
        self.assertEqual((done["saved_step"], done["eval_loss"]), (done["best_step"], done["best_eval_loss"]))
        self.assertLess(done["saved_step"], done["steps"])
        card = (self.work / "out" / "README.md").read_text()
        self.assertIn(f"values of step {done['saved_step']}", card)
        self.assertIn(f"held-out loss {done['eval_loss']:.4f}", card)

    def test_a_log_or_an_adapter_does_not_lie_over_what_is_read(self):
        shutil.copy(DATA / "sft.jsonl", self.work / "steps.jsonl")
        self.assertIn("input and output", self.train("out", *STEPS, "--log-dir", ".", code=2, data="steps.jsonl").stderr)
        self.train("first", *SMALL, "--steps", "1")
        self.assertIn("read as an input", self.train("first", "--steps", "1", "--init", "first", "--force", code=2).stderr)
        self.assertTrue((self.work / "first" / "adapter_model.safetensors").is_file())

    def test_a_signal_stops_it_within_two_seconds_and_it_goes_on(self):
        options = [*SMALL, "--steps", "3000"]
        process = subprocess.Popen(self.command("out", *options, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, cwd=self.work)
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= 5:
                break
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        self.assertLess(time.monotonic() - begin, 2 if "asan" not in str(LANCET) else 20)
        self.assertEqual(process.returncode, 130)
        last = [json.loads(line) for line in out.splitlines() if '"lr"' in line]
        process = subprocess.Popen(self.command("out", *options, "--json"), stdout=subprocess.PIPE, text=True, cwd=self.work)
        first = json.loads(process.stdout.readline())
        process.kill()
        process.stdout.close()
        process.wait()
        self.assertEqual(first["step"], (last[-1]["step"] if last else first["step"] - 1) + 1)

    def test_another_process_in_the_same_folder_is_refused(self):
        (self.work / "out").mkdir()
        holder = os.open(self.work / "out", os.O_RDONLY)
        fcntl.flock(holder, fcntl.LOCK_EX)
        self.assertIn("another process is writing into", self.train("out", *STEPS, code=6).stderr)
        self.assertEqual(os.listdir(self.work / "out"), [])
        os.close(holder)
        self.train("out", *STEPS)

    def test_an_output_that_is_a_link_to_a_folder_stays_one(self):
        (self.work / "disk").mkdir()
        (self.work / "out").symlink_to("disk")
        self.train("out", *STEPS)
        self.assertTrue((self.work / "out").is_symlink())
        self.assertTrue((self.work / "disk" / "adapter_config.json").is_file())

    def test_a_plan_writes_nothing_and_tells_what_it_takes(self):
        plan, = self.lines("out", *STEPS, "--plan")
        self.assertEqual(plan["steps"], 12)
        for key in ("peak_memory", "tokens_per_second"):
            self.assertGreater(plan["estimate"][key], 0)
        self.assertFalse((self.work / "out").exists())

    def test_trained_on_from_an_adapter(self):
        self.train("first", *STEPS)
        more = self.lines("second", "--init", "first", "--steps", "2", "--batch-tokens", "200")
        begin = [line for line in self.lines("again", *STEPS, "--force") if "lr" in line][0]
        self.assertLess(more[0]["loss"], begin["loss"])
        config = json.loads((self.work / "second" / "adapter_config.json").read_text())
        self.assertEqual((config["r"], config["lora_dropout"]), (4, 0.2))

    def test_a_teacher_that_runs_beside_the_student(self):
        self.train("taught", *SMALL, "--steps", "12", "--lr", "0.02")
        teacher = ["--teacher", f"{DATA / 'model'}+taught"]
        for loss, *options in (("logits", "alpha=1"), ("uld", "alpha=1"), ("on_policy",)):
            with self.subTest(loss=loss):
                own = [word for option in options for word in ("--loss-option", option)]
                if loss == "on_policy":
                    own += ["--rollout-tokens", "8"]
                done = self.lines(loss, *SMALL, "--steps", "12", "--lr", "0.02", "--loss", loss, *own, *teacher)[-1]
                self.assertLess(done["eval_loss"], 0.7 * done["eval_loss_before"])
        manifest = json.loads((self.work / "on_policy" / "lancet.json").read_text())
        self.assertEqual(manifest["settings"]["rollout_tokens"], 8)
        self.assertIn(teacher[1], json.dumps(manifest["inputs"]))
        self.train("two", *SMALL, "--steps", "2", "--accumulate", "2", "--loss", "on_policy", *teacher, "--nproc", "2")
        self.train("no", "--loss", "sft", *teacher, code=2)
        self.train("no", "--rollout-tokens", "3", code=2)

    def test_another_model_of_the_same_size_is_another_run(self):
        process = subprocess.Popen(self.command("out", *SMALL, "--steps", "500", "--save-every", "1", "--json"),
                                   stdout=subprocess.PIPE, text=True, cwd=self.work)
        for line in process.stdout:
            if json.loads(line).get("step") == 3:
                break
        process.kill()
        process.stdout.close()
        process.wait()
        other = self.work / "other"
        shutil.copytree(DATA / "model", other)
        command = self.command("out", *SMALL, "--steps", "500", "--save-every", "1", "--json")
        command[2] = str(other)
        weights = bytearray((other / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (other / "model.safetensors").write_bytes(weights)
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.work, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("another run", done.stderr)

    def test_rows_left_out_are_named_once(self):
        (self.work / "some.jsonl").write_text('{"text": "fine"}\n{"text": 3}\n{"text": "also"}\n')
        error = self.train("out", *SMALL, "--steps", "1", "--bad-rows", "skip", data=self.work / "some.jsonl").stderr
        self.assertEqual(error.count("some.jsonl:2"), 1, error)
        self.assertEqual(error.count("left out"), 1, error)

    def test_where_no_row_is_left_it_says_why(self):
        (self.work / "none.jsonl").write_text('{"text": 3}\n{"text": "' + "word " * 40 + '"}\n')
        args = ["--bad-rows", "skip", "--overlong", "skip", "--max-length", "8", "--quiet"]
        error = self.train("out", *args, data=self.work / "none.jsonl", code=3).stderr
        for words in ("found none that can be used (1 json, 1 over --max-length)", "none.jsonl:1", "--overlong truncate"):
            self.assertIn(words, error)
        (self.work / "empty.jsonl").write_text("")
        error = self.train("out", data=self.work / "empty.jsonl", code=3).stderr
        self.assertIn("expected rows to train on, found none\n", error)

    def test_what_cannot_be_meant_is_refused_by_name(self):
        for args, word in ((["--targets", "q_prj"], "q_proj"), (["--schedule", "cosin"], "cosine"), (["--lr", "0"], "--lr"),
                           (["--optimizer", "adam"], "adamw"), (["--loss", "sfd"], "sft"), (["--rank", "0"], "rank"),
                           (["--loss-option", "beta=1"], "beta"), (["--checkpointing", "maybe"], "checkpointing"),
                           (["--init", "x", "--rank", "4"], "--rank"), (["--layers", "9"], "9"), (["--layers", "a"], "--layers"),
                           (["--rank-pattern", "q_proj"], "name=value"), (["--loss", "logits"], "logits"),
                           (["--steps", "0"], "--steps"), (["--patience", "2"], "--eval-fraction"),
                           (["--eval-every", "2"], "--eval-fraction"), (["--decay", "0.5"], "wsd"),
                           (["--steps", "1", "--epochs", "2"], "--epochs"), (["--keep", "1"], "--save-every"),
                           (["--schedule", "constant", "--lr-floor", "0.5"], "--lr-floor"),
                           (["--batch-size", "2", "--batch-tokens", "64"], "--batch-tokens"),
                           (["--batch-size", "2", "--pack"], "--pack"), (["--base-quant", "stored"], "stored"),
                           (["--memory", "1MiB"], "memory")):
            with self.subTest(args=args):
                done = self.train("out", *args, code=6 if "--memory" in args else 2)
                self.assertIn(word, done.stderr)
                self.assertFalse((self.work / "out" / "adapter_config.json").exists())
        self.train("out", code=3, data=self.work / "missing.jsonl")
        (self.work / "bad.jsonl").write_text('{"text": "fine"}\n{"text": 3}\n')
        self.assertIn("bad.jsonl:2", self.train("out", code=3, data=self.work / "bad.jsonl").stderr)
        self.train("out", "--loss", "dpo", code=3)
        (self.work / "text.jsonl").write_text('{"text": "fine"}\n')
        self.assertIn("--as-chat", self.train("out", "--as-chat", code=2, data=self.work / "text.jsonl").stderr)

    def test_what_a_run_has_no_room_for_is_told(self):
        for args, words in ((["--warmup", "20"], "20 steps of warm-up in a run of 3"),
                            (["--schedule", "wsd", "--warmup", "0.6", "--decay", "0.9"], "for a decay of 3"),
                            (["--rank-timeout", "5"], "a single process")):
            with self.subTest(args=args):
                self.assertIn(words, self.train("out", "--steps", "3", *args, "--force").stderr)

    def test_a_loss_that_is_not_finite(self):
        done = self.train("out", *SMALL, "--steps", "12", "--lr", "1e30", "--clip", "0", code=5)
        self.assertIn("not finite", done.stderr)
        rows = [json.loads(line) for line in (self.work / "out" / "failed_batch.jsonl").read_text().splitlines()]
        self.assertTrue(all(row["line"] > 0 and row["ids"] for row in rows))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

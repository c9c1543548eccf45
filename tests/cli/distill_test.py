#!/usr/bin/env python3
"""`lancet distill` as a person sees it: which stages run, what is left alone, what a job file may say.

    distill_test.py LANCET
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402
from fault_server import FaultServer  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
TRAIN = "train: {steps: 4, rank: 2, max_length: 64, batch_tokens: 256, eval_fraction: 0.2, lr: 0.01, target_regex: '.*_proj'}\n"


class Distill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="lancet-distill-"))
        cls.model = tiny_model.write_model(cls.shared / "model")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared, True)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-distill-"))
        self.addCleanup(shutil.rmtree, self.work, True)
        rows = [{"messages": [{"role": "user", "content": f"Say {i}"}, {"role": "assistant", "content": f"the {i % 3} is {i}"}]}
                for i in range(40)]
        (self.work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + rows[:5]))

    def job(self, text="", data="data: {rows: rows.jsonl}\n", curate="curate: {dedup: exact}\n", train=TRAIN,
            evaluate="evaluate: {perplexity: text.txt}\n"):
        (self.work / "text.txt").write_text("The capital of France is Paris, and the capital of Italy is Rome.\n")
        (self.work / "job.yml").write_text(f"name: tiny\nseed: 3\n{data}{curate}student: {{model: {self.model}}}\n"
                                           f"{train}{evaluate}output: run\n{text}")
        return self.work / "job.yml"

    def run_lancet(self, *args, code=0, timeout=300):
        done = subprocess.run([str(LANCET), "distill", *map(str, args), "--threads", "2"], capture_output=True, text=True,
                              cwd=self.shared, timeout=timeout)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args, **options):
        return json.loads(self.run_lancet(*args, "--json", **options).stdout)

    def states(self, result):
        return {stage["stage"]: stage["status"] for stage in result["stages"]}

    def test_stages_run_once_and_again_only_where_something_changed(self):
        job = self.job()
        plan = self.json(job, "--plan")
        self.assertEqual(set(self.states(plan).values()), {"would run"})
        self.assertFalse((self.work / "run").exists())
        result = self.json(job)
        self.assertEqual(self.states(result), {"curate": "done", "train": "done", "evaluate": "done"})
        found = result["stages"][-1]["result"]
        self.assertLess(found["held_out"]["after"], found["held_out"]["before"])
        self.assertGreater(found["held_out"]["rows"], 0)
        self.assertEqual(found, json.loads((self.work / "run/evaluation.json").read_text()))
        for name in ("curated.jsonl", "adapter/adapter_model.safetensors", "log/steps.jsonl", "log/report.html", "distill.json"):
            self.assertTrue((self.work / "run" / name).is_file(), name)
        before = (self.work / "run/adapter/adapter_model.safetensors").read_bytes()
        same = self.json(job)
        self.assertEqual(set(self.states(same).values()), {"up to date"})
        self.assertEqual(same["stages"][-1]["result"], found)
        # Another setting of the training: the rows stay, the model is trained and measured again.
        self.job(train=TRAIN.replace("steps: 4", "steps: 5"))
        self.assertEqual(self.states(self.json(job)), {"curate": "up to date", "train": "done", "evaluate": "done"})
        # Back: the same bytes as the first time.
        self.job()
        self.json(job)
        self.assertEqual(before, (self.work / "run/adapter/adapter_model.safetensors").read_bytes())
        # A lost or damaged output is made again; what depends on it is not, since its bytes are the same.
        (self.work / "run/curated.jsonl").unlink()
        again = self.json(job)
        self.assertEqual(self.states(again), {"curate": "done", "train": "up to date", "evaluate": "up to date"})
        self.assertIn("is gone", again["stages"][0]["why"])
        with open(self.work / "rows.jsonl", "a") as rows:
            rows.write(json.dumps({"messages": [{"role": "user", "content": "new"}, {"role": "assistant", "content": "row"}]}) + "\n")
        self.assertEqual(set(self.states(self.json(job)).values()), {"done"})

    def test_killed_in_the_middle_and_run_again_it_comes_to_the_same_bytes(self):
        job = self.job(train=TRAIN.replace("steps: 4", "steps: 100, save_every: 1"))
        run = self.work / "run"
        process = subprocess.Popen([str(LANCET), "distill", str(job), "--threads", "2"], cwd=self.shared,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list((run / "adapter" / "checkpoints").glob("step-000000[0-9][3-9]")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        if process.wait() == 0:
            self.skipTest("it was done before it was killed")
        self.assertFalse((run / "adapter" / "adapter_model.safetensors").exists())
        begun = len((run / "log" / "steps.jsonl").read_text().splitlines())
        self.assertEqual(self.states(self.json(job)), {"curate": "up to date", "train": "done", "evaluate": "done"})
        steps = [line["step"] for line in map(json.loads, (run / "log" / "steps.jsonl").read_text().splitlines()) if "lr" in line]
        self.assertEqual(steps, list(range(1, 101)))
        self.assertGreater(begun, 0)
        adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
        shutil.rmtree(run)
        self.json(job)
        self.assertEqual(adapter, (run / "adapter" / "adapter_model.safetensors").read_bytes())

    def test_a_teacher_beside_the_student_is_read_from_where_the_job_lies(self):
        shutil.copytree(self.model, self.work / "teacher")
        job = self.job(train=TRAIN.replace("steps: 4", "steps: 4, loss: logits, teacher: teacher"), evaluate="")
        self.assertEqual(self.states(self.json(job)), {"curate": "done", "train": "done"})
        self.assertEqual(set(self.states(self.json(job)).values()), {"up to date"})
        (self.work / "teacher" / "generation_config.json").write_text("{}")
        self.assertEqual(self.states(self.json(job)), {"curate": "up to date", "train": "done"})

    def test_one_stage_alone_needs_what_comes_before(self):
        job = self.job()
        error = self.json(job, "--stage", "train", code=3)["error"]
        self.assertIn("curated.jsonl", error["message"])
        self.json(job, "--stage", "curate")
        self.assertEqual(self.states(self.json(job, "--stage", "train")), {"train": "done"})
        self.assertIn("no block for synthesize", self.json(job, "--stage", "synthesize", code=2)["error"]["hint"])
        self.run_lancet(job, "--stage", "tune", code=2)

    def test_a_teacher_is_asked_once(self):
        (self.work / "seeds.jsonl").write_text("".join(json.dumps({"prompt": f"Question {i}"}) + "\n" for i in range(12)))
        with FaultServer() as server:
            job = self.job(data=f"teacher: {{url: '{server.url}', model: toy}}\ndata: {{recipe: instruct, seeds: seeds.jsonl}}\n",
                           evaluate="")
            result = self.json(job)
            self.assertEqual(self.states(result), {"synthesize": "done", "curate": "done", "train": "done"})
            asked = server.seen
            self.assertGreaterEqual(asked, 12)
            self.assertEqual(set(self.states(self.json(job)).values()), {"up to date"})
            self.assertEqual(server.seen, asked)
        # Without the server: nothing is stale but what is, and answers are in the journal.
        (self.work / "run/data.jsonl").unlink()
        rows = (self.work / "run/curated.jsonl").read_bytes()
        self.run_lancet(job, "--stage", "curate", code=3)
        self.assertEqual(rows, (self.work / "run/curated.jsonl").read_bytes())

    def test_what_a_teachers_licence_asks_travels_and_is_checked_first(self):
        duties = {"licence": {"teachers": ["meta-llama/Llama-3.1-405B-Instruct"], "licences": ["llama3.1"]}}
        (self.work / "rows.jsonl.lancet.json").write_text(json.dumps(duties))
        named = "student: {{model: {}, name: {}}}\n"
        job = self.job()
        plain = job.read_text()
        line = f"student: {{model: {self.model}}}\n"
        job.write_text(plain.replace(line, named.format(self.model, "tiny-8b")))
        self.assertIn("Llama", self.json(job, code=2)["error"]["message"])
        self.assertFalse((self.work / "run").exists())
        job.write_text(plain.replace(line, named.format(self.model, "Llama-tiny")))
        self.json(job)
        adapter = self.work / "run/adapter"
        self.assertIn("Llama 3.1 is licensed under", (adapter / "NOTICE").read_text())
        self.assertIn("Built with Llama", (adapter / "README.md").read_text())
        self.assertEqual(json.loads((adapter / "lancet.json").read_text())["licence"]["licences"], ["llama3.1"])

    def test_the_train_block_takes_the_options_of_train_with_line_and_column(self):
        def message(train):
            error = self.json(self.job(train=train), code=2)["error"]
            self.assertFalse((self.work / "run").exists())
            return error["message"], error["hint"]

        text, hint = message("train:\n  steps: 4\n  rnk: 8\n")
        self.assertIn("job.yml:8:3: train: unknown key 'rnk'", text)
        self.assertIn("--rank", hint)
        text, _ = message("train: {steps: 4, max_length: 1}\n")
        self.assertIn("job.yml:6:19: train: ", text)
        self.assertIn("--max-length", text)
        self.assertIn("'data' is not for the job file", message("train: {data: x.jsonl}\n")[0])
        self.assertIn("'json' is not for the job file", message("train: {json: true}\n")[0])
        text, _ = message("trian: {steps: 4}\n")
        self.assertIn("job.yml:6:1: unknown key 'trian'", text)

    def test_every_stages_settings_are_checked_before_the_first_request(self):
        (self.work / "seeds.jsonl").write_text(json.dumps({"prompt": "Question"}) + "\n")
        train = "train: {steps: 4, rank: 2, batch_tokens: 256}\n"
        cases = [({"curate": "curate: {dedup: exakt}\n"}, "job.yml:5:10: curate:.*exakt"),
                 ({"curate": "curate: {filter: 'length:min_wrds=2'}\n"}, "job.yml:5:10: curate:.*min_wrds"),
                 ({"curate": "curate: {decontaminate: nosuch.jsonl}\n"}, "nosuch.jsonl"),
                 ({"evaluate": "evaluate: {perplexity: [nosuch.txt]}\n"}, "evaluate: perplexity:.*nosuch.txt")]
        for setting, words in (("loss: nosuch", "7:.*nosuch"), ("loss: logits", "7:.*--teacher"), ("loss: dpo", "preference"),
                               ("loss: kd", "logprobs"), ("schedule: foo", "7:.*foo"), ("optimizer: sgd", "7:.*sgd"),
                               ("targets: nosuch", "7:.*nosuch"), ("base_quant: nf9", "7:.*nf9"), ("alpha: 0", "7:.*alpha"),
                               ("overlong: cut", "7:.*cut"), ("nproc: 2", "7:.*one process")):
            cases.append(({"train": train.replace("steps: 4", setting)}, words))
        cases.append(({"train": train.replace("rank: 2", "rank: 0")}, "7:.*rank"))
        cases.append(({"train": train.replace("rank: 2", "init: nosuch")}, "nosuch"))
        with FaultServer() as server:
            data = f"teacher: {{url: '{server.url}', model: toy}}\ndata: {{recipe: instruct, seeds: seeds.jsonl}}\n"
            for parts, words in cases:
                job = self.job(data=data, **parts)
                for plan in ([], ["--plan"]):
                    with self.subTest(parts=parts, plan=plan):
                        done = subprocess.run([str(LANCET), "distill", str(job), *plan], capture_output=True, text=True)
                        self.assertIn(done.returncode, (2, 3), done.stderr)
                        self.assertRegex(done.stderr, words)
            job = self.job(data=data)
            job.write_text(job.read_text().replace(str(self.model), "nosuch"))
            self.assertIn("nosuch", self.run_lancet(job, code=3).stderr)
            self.assertEqual(server.seen, 0)

    def test_the_seed_of_the_command_stands_instead_of_the_jobs(self):
        job = self.job(evaluate="")
        self.json(job, "--seed", "9")
        self.assertEqual(json.loads((self.work / "run/adapter/lancet.json").read_text())["seed"], 9)
        self.assertEqual(set(self.states(self.json(job, "--seed", "9")).values()), {"up to date"})
        self.assertEqual(self.states(self.json(job, "--plan"))["train"], "would run")

    def test_what_a_job_may_not_say(self):
        def message(code=2, **parts):
            error = self.json(self.job(**parts), code=code)["error"]
            return error["message"] + " " + error["hint"]

        self.assertIn("'rows' says where it is", message(data="data: {rows: rows.jsonl, recipe: instruct}\n"))
        self.assertIn("nobody is asked", message(data="teacher: {url: 'http://127.0.0.1:9/v1', model: m}\ndata: {rows: rows.jsonl}\n"))
        self.assertIn("'teacher' is missing", message(data="data: {seeds: rows.jsonl}\n"))
        self.assertIn("'train' is missing", message(train=""))
        job = self.work / "no_folder.yml"
        job.write_text("data: {rows: rows.jsonl}\noutput: a.jsonl\n")
        self.assertIn("expected a folder", self.json(job, code=2)["error"]["message"])
        self.run_lancet(self.work / "missing.yml", code=3)
        done = subprocess.run([str(LANCET), "synthesize", str(self.job())], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("nobody to ask", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])

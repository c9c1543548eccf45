#!/usr/bin/env python3
"""lancet synthesize as it is used: jobs, parts, batch files, what is refused. Usage: synthesize_use_test.py LANCET [unittest args]."""
import hashlib
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fault_server import FaultServer  # noqa: E402
from synthesize_test import SEEDS, Shell  # noqa: E402


class Use(Shell):
    def test_a_job_by_options_gives_the_rows_of_the_same_job_by_file(self):
        with FaultServer() as server:
            self.run_lancet("--seeds", "seeds.jsonl", "--teacher", server.url, "--model", "toy", "--max-tokens", "50",
                            "--temperature", "0.5", "-o", "a.jsonl", "--seed", "9")
            path = self.work / "b.yml"
            path.write_text(f"seed: 9\nteacher: {{url: {server.url}, model: toy, sampling: {{max_tokens: 50, temperature: 0.5}}}}\n"
                            "data: {seeds: seeds.jsonl}\noutput: b.jsonl\n")
            self.run_lancet(path)
            self.assertEqual({b["temperature"] for b in server.bodies}, {0.5})
            self.assertEqual({b["top_p"] for b in server.bodies}, {1.0})  # nothing is left to the server's defaults
        self.assertEqual((self.work / "a.jsonl").read_bytes(), (self.work / "b.jsonl").read_bytes())
        manifest = json.loads((self.work / "a.jsonl.lancet.json").read_text())
        self.assertEqual(manifest["outputs"][0]["sha256"], hashlib.sha256((self.work / "a.jsonl").read_bytes()).hexdigest())
        self.assertEqual(manifest["job"]["teacher"]["model"], "toy")

    def test_rows_stand_in_the_order_of_the_seeds_with_their_provenance(self):
        with FaultServer(delay=0.003) as server:
            self.json(self.job(server.url, data="recipe: instruct, seeds: seeds.jsonl, samples: 2"), "-o", "out.jsonl")
        rows = self.rows()
        self.assertEqual([r["provenance"]["seed"] for r in rows], [f"seeds.jsonl:{i // 2 + 1}" for i in range(2 * SEEDS)])
        self.assertEqual(rows[1]["provenance"]["sample"], 1)
        self.assertEqual({r["provenance"]["model"] for r in rows}, {"toy-1"})
        self.assertNotEqual(rows[0]["messages"][-1], rows[1]["messages"][-1])

    def test_parts_joined_are_the_whole(self):
        with FaultServer() as server:
            self.json(self.job(server.url), "-o", "whole.jsonl")
            for k in range(1, 4):
                result = self.json(self.job(server.url), "-o", "joined.jsonl", "--part", f"{k}/3")
                self.assertGreater(result["rows"], 5)
            seen = server.seen
            self.json(self.job(server.url), "-o", "joined.jsonl")
            self.assertEqual(server.seen, seen, "the join asked again")
        self.assertEqual((self.work / "whole.jsonl").read_bytes(), (self.work / "joined.jsonl").read_bytes())

    def test_typed_failures_are_dropped_counted_and_asked_again_on_wish_only(self):
        cut = {"on": True}

        class Cutting(FaultServer):
            def payload(self, body, stream, fault):
                document, _, kind = super().payload(body, stream, fault)
                if cut["on"] and "Question 7 " in body["messages"][-1]["content"]:
                    document["choices"][0]["finish_reason"] = "length"
                return document, json.dumps(document).encode(), kind

        with Cutting() as server:
            result = self.json(self.job(server.url), "-o", "out.jsonl")
            self.assertEqual(result["dropped"], {"length": 1})
            self.assertEqual(len(self.rows()), SEEDS - 1)
            self.json(self.job(server.url), "-o", "out.jsonl", "--force")
            self.assertEqual(server.seen, SEEDS)
            cut["on"] = False
            self.json(self.job(server.url), "-o", "out.jsonl", "--force", "--retry-failed")
            self.assertEqual(server.seen, SEEDS + 1)
        self.assertEqual(len(self.rows()), SEEDS)

    def test_batch_files_out_and_in_give_the_live_dataset(self):
        data = "recipe: dialogue, seeds: seeds.jsonl, limit: 10, options: {turns: 2}"
        with FaultServer() as server:
            self.json(self.job(server.url, data=data), "-o", "live.jsonl")
            live = (self.work / "live.jsonl").read_bytes()
        folder, submitted = self.work / "batches", set()
        for step in range(1, 9):
            result = self.json(self.job("http://127.0.0.1:9/v1", data=data), "-o", "batch.jsonl", "--batch-files", "batches")
            if result["complete"]:
                break
            again = self.json(self.job("http://127.0.0.1:9/v1", data=data), "-o", "batch.jsonl", "--batch-files", "batches")
            self.assertEqual(again["batch"]["written"], 0, "submitted twice")
            answers, errors = [], []
            for path in sorted(folder.glob("batch-*.jsonl")):
                if (folder / f"{path.stem}.done").exists():
                    continue
                (folder / f"{path.stem}.done").touch()
                for number, line in enumerate(path.read_text().splitlines()):
                    request = json.loads(line)
                    self.assertEqual(request["method"], "POST")
                    self.assertEqual(request["url"], "/v1/chat/completions")
                    if step == 1 and number == 3:  # this one expired: it is written again
                        errors.append({"id": "e", "custom_id": request["custom_id"], "response": None,
                                       "error": {"code": "batch_expired", "message": "too late"}})
                        continue
                    self.assertNotIn(request["custom_id"], submitted)
                    submitted.add(request["custom_id"])
                    with FaultServer() as server:
                        document, _, _ = server.payload(request["body"], False, None)
                    answers.append({"id": "b", "custom_id": request["custom_id"], "error": None,
                                    "response": {"status_code": 200, "body": document}})
            (folder / f"output-{step}.jsonl").write_text("".join(json.dumps(a) + "\n" for a in answers))
            if errors:
                (folder / f"errors-{step}.jsonl").write_text("".join(json.dumps(e) + "\n" for e in errors))
        self.assertEqual((self.work / "batch.jsonl").read_bytes(), live)

    def test_request_files_that_are_no_requests_are_refused_by_line(self):
        folder = self.work / "batches"
        folder.mkdir()
        good = {"custom_id": "a", "url": "/v1/chat/completions", "body": {}}
        for bad in ({**good, "body": "text"}, {**good, "body": None}, {k: v for k, v in good.items() if k != "body"}):
            (folder / "batch-00001.jsonl").write_text(json.dumps(bad) + "\n")
            done = self.run_lancet(self.job("http://127.0.0.1:9/v1"), "-o", "out.jsonl", "--batch-files",
                                   "batches", code=3)
            self.assertIn("batch-00001.jsonl:1", done.stderr)
            self.assertIn("'body'", done.stderr)
            self.assertFalse((self.work / "out.jsonl").exists())

    def test_a_server_whose_list_of_models_is_no_list_is_asked_all_the_same(self):
        for models in ([], "none", {"data": 7}, {"data": [3]}):
            with self.subTest(models), FaultServer(models=models) as server:
                self.json(self.job(server.url), "-o", "out.jsonl", "--force")

    def test_the_plan_asks_nothing_and_bounds_what_comes(self):
        with FaultServer() as server:
            plan = self.json(self.job(server.url), "--plan", "-o", "out.jsonl")
            self.assertEqual(server.seen, 0)
            result = self.json(self.job(server.url), "-o", "out.jsonl")
        self.assertEqual(plan["estimate"]["requests"], result["spent"]["requests"])
        self.assertGreaterEqual(plan["estimate"]["completion_tokens"], result["spent"]["completion_tokens"])
        self.assertGreaterEqual(plan["estimate"]["usd"], result["spent"]["usd"])
        self.assertEqual(sorted(p.name for p in self.work.iterdir()),
                         ["job.yml", "out.jsonl", "out.jsonl.journal", "out.jsonl.lancet.json", "seeds.jsonl"])

    def test_a_plan_without_output_is_refused_and_one_without_prices_knows_no_cost(self):
        command = ["--seeds", "seeds.jsonl", "--teacher", "http://127.0.0.1:9/v1", "--model", "m", "--plan"]
        self.assertIn("expected an output", self.run_lancet(*command, code=2).stderr)
        self.assertRegex(self.run_lancet(*command, "-o", "out.jsonl").stdout, r"cost +unknown: no prices")
        self.assertIsNone(self.json(*command, "-o", "out.jsonl")["estimate"]["usd"])

    def test_a_cap_on_money_without_prices_is_refused(self):
        for prices in ("", "--price-input 3", "--price-input 0 --price-output 0"):
            done = self.run_lancet("--seeds", "seeds.jsonl", "--teacher", "http://127.0.0.1:9/v1", "--model", "m", "--max-usd", "1",
                                   "-o", "out.jsonl", *prices.split(), code=2)
            self.assertIn("max_usd needs prices", done.stderr)

    def test_a_folder_of_prompts_that_is_not_there_is_refused(self):
        job = self.job("http://127.0.0.1:9/v1", data="recipe: best_of_n, seeds: seeds.jsonl, prompts: nowhere")
        self.assertIn("nowhere", self.run_lancet(job, "-o", "out.jsonl", "--plan", code=3).stderr)

    def test_what_is_read_is_not_written_over(self):
        job = self.job("http://127.0.0.1:9/v1")
        before = self.seeds.read_bytes()
        for out in ("seeds.jsonl", "job.yml"):
            self.assertIn("input and output", self.run_lancet(job, "-o", out, "--force", code=2).stderr)
        self.assertEqual(self.seeds.read_bytes(), before)
        error = self.run_lancet(job, "-o", "batches/out.jsonl", "--batch-files", "batches", code=2).stderr
        self.assertIn("among the batch files", error)

    def test_mistakes_in_a_job_are_named_by_line_and_column(self):
        for text, words in (("teacher: {url: http://x/v1, model: m}\ndata: {recipe: evol_instruct, seeds: seeds.jsonl, options: {round: 2}}\n",
                             ("2:", "unknown key 'round'", "rounds")),
                            ("teacher: {url: http://x/v1, model: m, sampling: {temprature: 1}}\ndata: {seeds: seeds.jsonl}\n",
                             ("1:", "temprature", "temperature")),
                            ("teacher: {url: http://x/v1, model: m}\ndata: {recipe: instrct, seeds: s}\n", ("2:16", "instrct", "instruct")),
                            ("teacher: {url: http://x/v1, model: m, limits: {max_usd: -1}}\ndata: {seeds: s}\n", ("1:", "max_usd")),
                            ("teacher: {url: ftp://x/v1, model: m}\ndata: {seeds: s}\n", ("1:16", "url")),
                            ("teacher: {url: http://x/v1}\ndata: {seeds: s}\n", ("1:10", "'model' is missing")),
                            ("teacher: {url: http://x/v1, model: m, extra: {seed: 1}}\ndata: {seeds: s}\n", ("1:", "seed"))):
            path = self.work / "bad.yml"
            path.write_text(text)
            done = self.run_lancet(path, "-o", "o.jsonl", code=2)
            for word in words:
                self.assertIn(word, done.stderr)
        self.seeds.write_text('{"prompt": "a"}\n{"promt": "b"}\n')
        error = self.json(self.job("http://127.0.0.1:9/v1"), "-o", "o.jsonl", code=3)["error"]
        self.assertIn("seeds.jsonl:2", error["message"])

    def test_a_request_that_is_refused_is_no_data_and_a_job_that_is_wrong_ends_soon(self):
        class Refusing(FaultServer):
            def reply(self, connection, body, key, fault):
                self.send(connection, 400, {"error": {"message": "max_tokens is too large"}})
                return True

        with Refusing() as server:
            error = self.json(self.job(server.url), "-o", "o.jsonl", code=2)["error"]
            self.assertIn("max_tokens is too large", error["message"])
            self.assertLess(server.seen, 20)

    def batch(self, answers, *more, extra="", code=0):
        """A round of batch files: writes requests, takes in `answers(request)`, a line each."""
        job = self.job("http://127.0.0.1:9/v1", extra=extra)
        self.run_lancet(job, "-o", "out.jsonl", "--batch-files", "batches")
        requests = [json.loads(line) for line in (self.work / "batches" / "batch-00001.jsonl").read_text().splitlines()]
        lines = [answers(i, request) for i, request in enumerate(requests)]
        (self.work / "batches" / "out-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines if line))
        return self.run_lancet(job, "-o", "out.jsonl", "--batch-files", "batches", "--json", *more, code=code)

    @staticmethod
    def answered(request, tokens=None):
        choice = {"message": {"content": "hi there"}, "finish_reason": "stop"}
        if tokens:
            choice["logprobs"] = {"content": [{"token": text, "logprob": value, "top_logprobs": [{"token": text, "logprob": value}]}
                                              for text, value in tokens]}
        return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": {"model": "toy-1", "choices": [choice]}}}

    def test_finish_writes_what_batch_files_have_answered(self):
        def half(i, request):
            if i % 3 == 2:
                return {"custom_id": request["custom_id"], "response": None, "error": {"code": "batch_expired", "message": "too late"}}
            return self.answered(request) if i % 3 else None

        done = self.batch(half, "--finish")
        result = json.loads(done.stdout)
        self.assertEqual((result["rows"], result["output"], result["complete"]), (SEEDS // 3, "out.jsonl", False))
        self.assertEqual(len(self.rows()), SEEDS // 3)
        self.assertEqual(result["batch"]["written"], 0)
        self.assertIn(f"{SEEDS // 3} requests got no answer, among them", done.stderr)
        self.assertIn("too late", done.stderr)

    def test_log_probabilities_that_train_would_refuse_become_no_rows(self):
        fine = [("hi", -0.5), (" there", -0.25)]
        for tokens, rows, said in ((fine, SEEDS, None), ([("hi", 0.5), (" there", -1)], 0, "0.5 is no log probability"),
                                   ([("so:", -1), *fine], 0, "log probabilities of another text"),
                                   (None, 0, "no log probabilities")):
            with self.subTest(tokens=tokens):
                for path in [*self.work.glob("out.jsonl*"), *self.work.glob("batches/*")]:
                    path.unlink()
                done = self.batch(lambda _, request: self.answered(request, tokens), extra="  logprobs: 1\n")
                result = json.loads(done.stdout)
                self.assertEqual(result["rows"], rows)
                self.assertIn(said or "", done.stderr + json.dumps(result["dropped"]))
                if rows:
                    self.assertEqual(self.rows()[0]["teacher"]["tokens"], 2)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

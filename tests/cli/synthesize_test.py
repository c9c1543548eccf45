#!/usr/bin/env python3
"""lancet synthesize at the shell, against servers that go wrong. Usage: synthesize_test.py LANCET [unittest args]."""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fault_server import FAULTS, FaultServer  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()
SCHEDULES = int(os.environ.get("LANCET_SCHEDULES", "20"))
SEEDS = 60
LIMITS = "concurrency: 8, timeout: 20, idle_timeout: 0.5, attempts: 12, max_response_bytes: 1000000"


class Shell(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-synthesize-"))
        self.addCleanup(shutil.rmtree, self.work, True)
        self.seeds = self.work / "seeds.jsonl"
        self.seeds.write_text("".join(json.dumps({"prompt": f"Question {i} on \u00fcber {i * i}?"}) + "\n" for i in range(SEEDS)))

    def job(self, url, limits=LIMITS, extra="", data="recipe: instruct, seeds: seeds.jsonl", name="job.yml"):
        path = self.work / name
        path.write_text(f"seed: 3\nteacher:\n  url: {url}\n  model: toy\n  limits: {{{limits}}}\n"
                        f"  prices: {{input: 1, output: 4}}\n{extra}data: {{{data}}}\n")
        return path

    def run_lancet(self, *args, code=0, env=None, timeout=120):
        done = subprocess.run([str(LANCET), "synthesize", *map(str, args)], capture_output=True, text=True, cwd=self.work,
                              timeout=timeout, env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args, code=0, **options):
        return json.loads(self.run_lancet(*args, "--json", code=code, **options).stdout)

    def rows(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.work / name).read_text().splitlines()]


class Dripping:
    """A server that begins an answer and never ends it; without drops it does not begin either."""

    def __init__(self, drops=1 << 30):
        self.drops, self.socket = drops, socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drops = 0
        self.socket.close()

    def accept(self):
        kept = []
        try:
            while True:
                kept.append(self.socket.accept()[0])
                threading.Thread(target=self.drip, args=(kept[-1],), daemon=True).start()
        except OSError:
            return

    def drip(self, connection):
        try:
            connection.recv(65536)
            if self.drops:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for _ in range(self.drops):
                connection.sendall(b": wait\n\n")
                time.sleep(0.1)
        except OSError:
            pass


class Faults(Shell):
    def reference(self, stream, data="recipe: instruct, seeds: seeds.jsonl"):
        with FaultServer() as server:
            name = f"reference-{stream}.jsonl"
            result = self.json(self.job(server.url, extra=f"  stream: {stream}\n", data=data), "-o", name)
            self.assertEqual(server.twice(), 0)
        return (self.work / name).read_bytes(), result

    def killed_until_done(self, job, out, draw, reference, code=0):
        """Runs the job, kill -9 at random moments, until it ends by itself; returns the number of kills and what was said."""
        kills = 0
        while True:
            process = subprocess.Popen([str(LANCET), "synthesize", str(job), "-o", out, "--json"], cwd=self.work,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                output, error = process.communicate(timeout=draw.uniform(0.05, 0.9) if kills < 4 else 120)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                if (self.work / out).exists():  # killed after the last byte: then all of it stands there
                    self.assertEqual((self.work / out).read_bytes(), reference, "half a dataset under the final name")
                    (self.work / out).unlink()
                continue
            self.assertEqual(process.returncode, code, error)
            return kills, json.loads(output)

    def test_random_faults_and_kills_change_no_byte_and_ask_nothing_twice(self):
        references = {stream: self.reference(stream)[0] for stream in ("false", "true")}
        self.assertEqual(references["false"], references["true"])
        met, kills_in_all, twice_in_all, capped = {}, 0, 0, 0
        for schedule in range(SCHEDULES):
            draw = random.Random(schedule)
            stream = "true" if schedule % 2 else "false"
            out = f"out{schedule}.jsonl"
            with FaultServer(seed=schedule, rate=draw.uniform(0.1, 0.6), delay=0.01) as server:
                kills = 0
                if schedule % 4 == 1:  # first up to a cap, which faults and kills do not move
                    limits, stream_line = LIMITS + ", max_requests: 30", f"  stream: {stream}\n"
                    kills, said = self.killed_until_done(self.job(server.url, limits, stream_line), out, draw, references[stream], 6)
                    self.assertIn("max_requests 30", said["error"]["message"])
                    self.assertLessEqual(server.seen, 30 + 8 * kills, f"schedule {schedule}")
                    capped += 1
                more, result = self.killed_until_done(self.job(server.url, extra=f"  stream: {stream}\n"), out, draw,
                                                      references[stream])
                kills += more
                self.assertEqual((self.work / out).read_bytes(), references[stream], f"schedule {schedule}")
                # What was in flight at a kill, and nothing else, may have been answered twice.
                self.assertLessEqual(server.twice(), 8 * kills, f"schedule {schedule}")
                self.assertLessEqual(server.most_open, 8 * (kills + 1))
                self.assertGreaterEqual(result["spent"]["requests"] + 8 * kills, server.seen)
                for kind, count in server.kinds.items():
                    met[kind] = met.get(kind, 0) + count
                kills_in_all += kills
                twice_in_all += server.twice()
        print(f"{SCHEDULES} schedules, {kills_in_all} kills, {sum(met.values())} faults: {met}; answered twice: {twice_in_all}; "
              f"held at a cap: {capped}", file=sys.stderr)
        if SCHEDULES >= 20:
            self.assertEqual(set(met), set(FAULTS), "a fault was never drawn")
            self.assertGreaterEqual(kills_in_all, SCHEDULES)

    def test_without_a_kill_nothing_is_asked_twice_whatever_fails(self):
        reference = self.reference("false")[0]
        with FaultServer(seed=77, rate=0.5) as server:
            result = self.json(self.job(server.url), "-o", "out.jsonl")
            self.assertEqual(server.twice(), 0)
            self.assertEqual(result["spent"]["requests"], server.seen)
        self.assertEqual((self.work / "out.jsonl").read_bytes(), reference)
        with FaultServer() as server:  # and again: the journal holds everything
            self.json(self.job(server.url), "-o", "out.jsonl", "--force")
            self.assertEqual(server.seen, 0)
        self.assertEqual((self.work / "out.jsonl").read_bytes(), reference)

    def test_a_torn_journal_goes_on_where_it_was_torn(self):
        reference = self.reference("false")[0]
        text = (self.work / "reference-false.jsonl.journal").read_bytes()
        (self.work / "out.jsonl.journal").write_bytes(text[:len(text) // 2 + 3])
        with FaultServer() as server:
            self.json(self.job(server.url), "-o", "out.jsonl")
            self.assertLess(server.seen, SEEDS * 2 // 3)
            self.assertGreater(server.seen, 0)
        self.assertEqual((self.work / "out.jsonl").read_bytes(), reference)

    def test_recipes_of_several_steps_survive_kills_too(self):
        data = "recipe: dialogue, seeds: seeds.jsonl, limit: 12, options: {turns: 3}"
        reference = self.reference("false", data)[0]
        self.assertEqual(len(reference.splitlines()), 12)
        for schedule in range(2):
            with FaultServer(seed=schedule, rate=0.3, delay=0.02) as server:
                out = f"dialogue{schedule}.jsonl"
                kills, _ = self.killed_until_done(self.job(server.url, data=data), out, random.Random(schedule), reference)
                self.assertEqual((self.work / out).read_bytes(), reference)
                self.assertLessEqual(server.twice(), 8 * kills)


    def test_code_is_run_once_mended_and_survives_kills(self):
        def coder(body):
            text = body["messages"][-1]["content"]
            if "[What happened]" in text:
                assert "AssertionError" in text, text
                return "Off by one.\n```python\ndef f(x):\n    return x + 1\n```"
            if "[Solution]" in text:
                return "```python\nassert f(1) == 2\nassert f(-1) == 0\n```"
            if "[Snippet]" in text:
                return "Write f(x), which adds one. Name it after y = " + text.split("y = ")[1].split()[0]
            return "```python\ndef f(x):\n    return x + 2\n```"

        data = "recipe: code_execution, seeds: code.jsonl"
        (self.work / "code.jsonl").write_text("".join(json.dumps({"text": f"y = {i}"}) + "\n" for i in range(6)))
        with FaultServer(answer=coder) as server:
            done = subprocess.run([str(LANCET), "synthesize", str(self.job(server.url, data=data)), "-o", "code.out.jsonl", "--json"],
                                  cwd=self.work, capture_output=True, text=True, timeout=120)
            if done.returncode == 6 and "sandbox" in done.stderr:
                self.skipTest("no sandbox stands here: " + done.stderr)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["spent"]["requests"], server.seen)
        rows = self.rows("code.out.jsonl")
        self.assertEqual([(r["rounds"], r["language"]) for r in rows], [(1, "python")] * 6)
        self.assertIn("return x + 1", rows[0]["messages"][1]["content"])
        reference = (self.work / "code.out.jsonl").read_bytes()
        with FaultServer(seed=1, rate=0.3, answer=coder, delay=0.02) as server:
            kills, result = self.killed_until_done(self.job(server.url, data=data), "again.jsonl", random.Random(3), reference)
            self.assertEqual((self.work / "again.jsonl").read_bytes(), reference)
            self.assertGreater(kills, 0)
            # What was run is no request: only the teacher's answers count.
            self.assertLessEqual(result["spent"]["requests"], server.seen)


class Caps(Shell):
    def test_the_cap_on_requests_is_held_over_runs_and_faults(self):
        with FaultServer(seed=5, rate=0.4) as server:
            limits = LIMITS + ", max_requests: 40"
            error = self.json(self.job(server.url, limits), "-o", "out.jsonl", code=6)["error"]
            self.assertIn("max_requests 40", error["message"])
            self.assertEqual(server.seen, 40)
            self.json(self.job(server.url, limits), "-o", "out.jsonl", code=6)
            self.assertEqual(server.seen, 40)
            self.assertFalse((self.work / "out.jsonl").exists())
            done = self.json(self.job(server.url, limits), "-o", "part.jsonl", "--finish")
            self.assertEqual(done["rows"], 0)  # another journal: nothing is known there
            self.json(self.job(server.url), "-o", "out.jsonl")
            self.assertEqual(server.twice(), 0)
        self.assertEqual(len(self.rows()), SEEDS)

    def test_tokens_and_dollars_are_never_exceeded_and_nearly_used(self):
        for name, cap, spent in (("max_tokens", 1500, lambda s: s["prompt_tokens"] + s["completion_tokens"] + s["lost_tokens"]),
                                 ("max_usd", 0.004, lambda s: s["usd"])):
            with FaultServer(delay=0.005) as server:
                limits = LIMITS + f", {name}: {cap}"
                job = self.job(server.url, limits, extra="  sampling: {max_tokens: 400}\n")
                self.json(job, "-o", f"{name}.jsonl", code=6)
                result = self.json(job, "-o", f"{name}.jsonl", "--finish")
                self.assertLessEqual(spent(result["spent"]), cap)
                self.assertGreater(spent(result["spent"]), cap * 0.5)
                self.assertGreater(result["rows"], 0)
                self.assertLess(result["rows"], SEEDS)
                self.assertEqual(server.spent, result["spent"]["prompt_tokens"] + result["spent"]["completion_tokens"])

    def test_requests_a_minute_and_in_flight_are_held(self):
        with FaultServer(delay=0.05) as server:
            process = subprocess.Popen([str(LANCET), "synthesize", str(self.job(server.url, "concurrency: 3, requests_per_minute: 20")),
                                        "-o", "out.jsonl"], cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            begin = time.monotonic()
            self.assertEqual(process.wait(timeout=10), 130)
            self.assertLess(time.monotonic() - begin, 2)
            self.assertEqual(server.seen, 20)
            self.assertLessEqual(server.most_open, 3)


class Endpoints(Shell):
    def test_a_dead_endpoint_is_set_aside_and_the_other_does_the_work(self):
        with FaultServer(delay=0.01) as server:
            result = self.json(self.job(f"[http://127.0.0.1:9/v1, {server.url}]"), "-o", "out.jsonl")
            self.assertEqual(result["rows"], SEEDS)
            self.assertGreaterEqual(result["wire"]["set_aside"], 1)

    def test_two_endpoints_share_one_queue(self):
        with FaultServer(delay=0.01) as a, FaultServer(delay=0.01) as b:
            self.json(self.job(f"[{a.url}, {b.url}]"), "-o", "out.jsonl")
            self.assertEqual(a.seen + b.seen, SEEDS)
            self.assertGreater(min(a.seen, b.seen), SEEDS // 5)

    def test_a_server_that_never_answers_ends_the_run_with_a_reason(self):
        job = self.job("http://127.0.0.1:9/v1", "attempts: 2, give_up_after: 3")
        error = self.json(job, "-o", "out.jsonl", code=6)["error"]
        self.assertEqual(error["kind"], "resource")
        self.assertFalse((self.work / "out.jsonl").exists())

    def test_endpoints_that_have_never_answered_are_given_up_soon_and_told_at_once(self):
        with FaultServer(rate=1, faults=("500",), patience=1 << 30) as server:
            for url in ("http://127.0.0.1:9/v1", server.url):
                begin = time.monotonic()
                done = self.run_lancet(self.job(url, "start_timeout: 2, attempts: 1000"), "-o", "out.jsonl", code=6, timeout=30)
                self.assertLess(time.monotonic() - begin, 20)
                self.assertIn("warning: " + url + " does not answer: ", done.stderr)
                self.assertIn("no endpoint has answered", done.stderr)
                self.assertIn("limits.start_timeout", done.stderr)

    def test_time_limits_hold_where_nothing_fails(self):
        def hang(_):
            time.sleep(60)

        with Dripping() as drip, Dripping(drops=0) as mute, FaultServer(answer=hang) as known:
            for url, limits, least, most, named in (
                    (mute.url, "start_timeout: 2", 1.9, 6, "limits.start_timeout"),
                    (drip.url, "start_timeout: 2", 1.9, 6, "limits.start_timeout"),
                    (known.url, "start_timeout: 1, give_up_after: 3", 2.9, 8, "limits.give_up_after")):
                with self.subTest(url=url, limits=limits):
                    begin = time.monotonic()
                    done = self.run_lancet(self.job(url, limits, "  stream: true\n"), "-o", "out.jsonl", code=6, timeout=40)
                    self.assertGreater(time.monotonic() - begin, least)
                    self.assertLess(time.monotonic() - begin, most)
                    self.assertIn("no endpoint has answered for", done.stderr)
                    self.assertIn(named, done.stderr)

    def test_answers_that_drip_end_at_their_timeout_and_the_reason_is_told(self):
        self.seeds.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
        with Dripping() as drip:
            begin = time.monotonic()
            done = self.run_lancet(self.job(drip.url, "timeout: 1, attempts: 1", "  stream: true\n"), "-o", "out.jsonl", code=6)
            self.assertLess(time.monotonic() - begin, 25)
            self.assertIn("2 of 2 seeds got no answer within 1 attempts; the last: ", done.stderr)
            self.assertIn("timed out", done.stderr)

    def test_silence_goes_on_from_one_given_up_request_to_the_next(self):
        said = []

        def twice(body):
            said.append(body)
            if len(said) > 2:
                time.sleep(60)
            return "fine"

        with FaultServer(answer=twice) as server:
            begin = time.monotonic()
            job = self.job(server.url, "concurrency: 1, timeout: 1, attempts: 1, give_up_after: 4")
            self.assertIn("no endpoint has answered for 4 s", self.run_lancet(job, "-o", "out.jsonl", code=6).stderr)
            self.assertLess(time.monotonic() - begin, 20)


class Secrets(Shell):
    KEY = "sk-test-9f8e7d6c5b4a"

    def test_the_key_is_sent_and_stands_nowhere_else(self):
        def leak(body):
            return f"I was sent Bearer {self.KEY}?"

        with FaultServer(seed=1, rate=0.3, faults=("error-body", "500")) as server:
            job = self.job(server.url, extra="  api_key_env: TOY_KEY\n")
            done = self.run_lancet(job, "-o", "out.jsonl", "--verbose", env={"TOY_KEY": self.KEY})
            self.assertEqual({h.get("authorization") for h in server.headers}, {f"Bearer {self.KEY}"})
            self.assertNotIn(self.KEY, done.stdout + done.stderr)
        for path in self.work.rglob("*"):
            if path.is_file():
                self.assertNotIn(self.KEY.encode(), path.read_bytes(), path)

    def test_an_error_that_quotes_the_key_does_not_show_it(self):
        class Quoting(FaultServer):
            def reply(self, connection, body, key, fault):
                self.send(connection, 401, {"error": {"message": f"Incorrect API key provided: {Secrets.KEY}."}})
                return True

        with Quoting() as server:
            job = self.job(server.url, extra="  api_key_env: TOY_KEY\n")
            done = self.run_lancet(job, "-o", "out.jsonl", "--json", "--verbose", code=2, env={"TOY_KEY": self.KEY})
            self.assertIn("Incorrect API key provided: ***.", done.stdout)
            self.assertNotIn(self.KEY, done.stdout + done.stderr)
            self.assertLessEqual(server.seen, 8)

    def test_a_missing_key_and_a_key_in_the_file_are_refused(self):
        with FaultServer() as server:
            error = self.json(self.job(server.url, extra="  api_key_env: NOT_SET_ANYWHERE\n"), "-o", "o.jsonl", code=2)["error"]
            self.assertIn("NOT_SET_ANYWHERE", error["message"])
            done = self.run_lancet(self.job(server.url, extra=f"  api_key_env: {self.KEY}\n"), "-o", "o.jsonl", code=2)
            self.assertNotIn(self.KEY, done.stdout + done.stderr)
            done = self.run_lancet(self.job(f"http://user:{self.KEY}@127.0.0.1:{server.port}/v1"), "-o", "o.jsonl", code=2)
            self.assertNotIn(self.KEY, done.stdout + done.stderr)
            self.assertEqual(server.seen, 0)

    def test_a_redirect_is_refused_and_the_key_does_not_follow_it(self):
        with FaultServer() as elsewhere:
            class Redirecting(FaultServer):
                def reply(self, connection, body, key, fault):
                    self.send(connection, 307, {}, {"Location": elsewhere.url + "/chat/completions"})
                    return True

            with Redirecting() as server:
                job = self.job(server.url, extra="  api_key_env: TOY_KEY\n")
                error = self.json(job, "-o", "o.jsonl", code=3, env={"TOY_KEY": self.KEY})["error"]
                self.assertIn("redirects to", error["message"])
            self.assertEqual(elsewhere.seen, 0)


class Tls(Shell):
    """Certificates are made by openssl for the test."""

    def certificate(self, name, address):
        if shutil.which("openssl") is None:
            self.skipTest("no openssl to make a certificate with")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
                       cwd=self.work, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.work / f"{name}.pem", self.work / f"{name}.key")
        return context

    def test_a_certificate_must_be_known_and_for_this_host(self):
        with FaultServer(tls=self.certificate("right", "127.0.0.1")) as server:
            error = self.json(self.job(server.url), "-o", "o.jsonl", code=6)["error"]
            self.assertIn("certificate", error["message"])
            self.assertIn("ca_file", error["hint"])
            self.assertEqual(server.seen, 0)
            self.assertEqual(self.json(self.job(server.url, extra="  ca_file: right.pem\n"), "-o", "o.jsonl")["rows"], SEEDS)
        with FaultServer(tls=self.certificate("other", "127.0.0.2")) as server:
            error = self.json(self.job(server.url, extra="  ca_file: other.pem\n"), "-o", "p.jsonl", code=6)["error"]
            self.assertIn("127.0.0.1", error["message"])
            self.assertEqual(server.seen, 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

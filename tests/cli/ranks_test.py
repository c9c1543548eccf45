#!/usr/bin/env python3
"""lancet train in several processes. Usage: ranks_test.py LANCET [unittest args]."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

LANCET = pathlib.Path(sys.argv[1]).resolve()
DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "train"
STEPS = ["--rank", "4", "--dropout", "0.1", "--batch-tokens", "150", "--accumulate", "4", "--steps", "6", "--lr", "5e-3",
         "--eval-fraction", "0.2", "--eval-every", "3", "--threads", "1", "--json"]


def with_steps(count, *more):
    """STEPS, but so many of them."""
    at = STEPS.index("--steps") + 1
    return [*STEPS[:at], str(count), *STEPS[at + 1:], *more]


def losses(text):
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["loss"] for line in lines if "loss" in line], lines[-1]


class Ranks(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="lancet-ranks-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def command(self, out, *args, data=DATA / "sft.jsonl"):
        return [str(LANCET), "train", str(DATA / "model"), "--data", str(data), "-o", out, "--device", "cpu", *map(str, args)]

    def run_one(self, *args, code=0, **options):
        done = subprocess.run(self.command(*args, **options), capture_output=True, text=True, cwd=self.work, timeout=120)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def start_ranks(self, size, *args, own=lambda rank: []):
        """`own`: further arguments of each."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                  "GLOO_SOCKET_IFNAME": "lo"}
        return [subprocess.Popen(self.command(*args, *own(rank)), env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work)
                for rank in range(size)]

    def assert_same_curve(self, one, other):
        self.assertEqual(len(one), len(other))
        for a, b in zip(one, other):
            self.assertLess(abs(a - b), 1e-5 * a)

    def test_two_and_four_processes_take_the_steps_of_one(self):
        one, last = losses(self.run_one("one", *STEPS).stdout)
        for count in (2, 4):
            other, result = losses(self.run_one(f"out{count}", *STEPS, "--nproc", count).stdout)
            self.assert_same_curve(one, other)
            self.assertEqual(result["ranks"], count)
            self.assertEqual(result["tokens"], last["tokens"])
            self.assertTrue((self.work / f"out{count}" / "adapter_model.safetensors").is_file())

    def test_launched_from_outside_only_rank_0_prints_and_writes(self):
        processes = self.start_ranks(2, "out", *STEPS)
        texts = [process.communicate(timeout=120) for process in processes]
        self.assertEqual([process.returncode for process in processes], [0, 0], texts)
        self.assertEqual(texts[1][0], "")
        one, _ = losses(self.run_one("one", *STEPS).stdout)
        self.assert_same_curve(one, losses(texts[0][0])[0])

    def test_a_killed_rank_stops_the_others(self):
        slow = with_steps(100000, "--save-every", "1", "--keep", "1")
        processes = self.start_ranks(2, "out", *slow)
        processes[0].stdout.readline()
        processes[1].kill()
        _, error = processes[0].communicate(timeout=60)
        processes[1].communicate()
        self.assertEqual(processes[0].returncode, 6, error)
        self.assertIn("lost the others", error)
        self.assertFalse((self.work / "out" / "adapter_config.json").exists())

    def test_a_rank_with_other_options_is_refused_by_all(self):
        processes = self.start_ranks(2, "out", *STEPS, own=lambda rank: ["--seed", rank])
        texts = [process.communicate(timeout=60) for process in processes]
        self.assertEqual([process.returncode for process in processes], [4, 4], texts)

    def test_what_one_rank_finds_wrong_ends_all_with_its_code(self):
        (self.work / "bad.jsonl").write_text('{"prompt": "a", "completion": 7}\n')
        done = self.run_one("out", *STEPS, "--nproc", 2, code=3, data=self.work / "bad.jsonl")
        self.assertEqual(done.stderr.count("bad.jsonl:1"), 1, done.stderr)
        text = self.run_one("out", *STEPS, "--nproc", 8, code=2).stderr
        self.assertEqual(text.count("--accumulate"), 1, text)

    def test_when_the_first_process_is_killed_another_one_says_so(self):
        command = self.command("out", *with_steps(100000), "--nproc", 2)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work)
        process.stdout.readline()
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 6, error)
        self.assertEqual(error.count("lost the others"), 1, error)

    def test_a_signal_to_the_launcher_alone_reaches_all_at_once(self):
        command = self.command("out", *with_steps(100000), "--nproc", "2")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work)
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= 2:
                break
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        self.assertLess(time.monotonic() - begin, 2 if "asan" not in str(LANCET) else 20)
        self.assertEqual(process.returncode, 130, error)
        self.assertTrue(list((self.work / "out" / "checkpoints").glob("step-*")))

    def test_a_signal_stops_all_and_the_same_command_goes_on(self):
        command = self.command("out", *with_steps(40), "--nproc", "2")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work,
                                   start_new_session=True)
        for line in process.stdout:
            if json.loads(line).get("step") == 4:
                os.killpg(process.pid, signal.SIGINT)
                break
        rest, error = process.communicate(timeout=60)
        if process.returncode == 0:
            self.skipTest("it was done before the signal came")
        self.assertEqual(process.returncode, 130, error)
        self.assertTrue(list((self.work / "out" / "checkpoints").glob("step-*")))
        again = subprocess.run(command, capture_output=True, text=True, cwd=self.work, timeout=120)
        self.assertEqual(again.returncode, 0, again.stderr)
        first = json.loads(again.stdout.splitlines()[0])["step"]
        self.assertGreater(first, 4)
        straight, _ = losses(self.run_one("one", *with_steps(40)).stdout)
        self.assert_same_curve(straight[-5:], losses(again.stdout)[0][-5:])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])

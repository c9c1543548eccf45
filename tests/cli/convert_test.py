#!/usr/bin/env python3
"""lancet convert (and merge into a GGUF), killed and run again: the bytes of the run that was not. Usage: convert_test.py LANCET [unittest args]."""
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
KILLS = int(os.environ.get("LANCET_KILLS", "20"))
JOURNAL = ".{}.lancet-convert"


def write_wide(folder, seed, layers=6, d_model=256, d_ff=4096):
    """A Llama of some 80 MB whose values repeat, which is quick to write."""
    tiny_model.write_model(folder, layers=1, d_model=d_model, heads=4, kv_heads=4, d_ff=8, seed=seed)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers, "intermediate_size": d_ff}))
    rng = random.Random(seed)
    block = struct.pack("<65536f", *[rng.gauss(0, 0.02) for _ in range(65536)])
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], d_model], "model.norm.weight": [d_model]}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {at + f"self_attn.{p}_proj.weight": [d_model, d_model] for p in "qkvo"}
        shapes |= {at + "mlp.gate_proj.weight": [d_ff, d_model], at + "mlp.up_proj.weight": [d_ff, d_model],
                   at + "mlp.down_proj.weight": [d_model, d_ff], at + "input_layernorm.weight": [d_model],
                   at + "post_attention_layernorm.weight": [d_model]}
    header, offset, data = {}, 0, []
    for name in sorted(shapes):
        count = 4
        for dim in shapes[name]:
            count *= dim
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [offset, offset + count]}
        begin = rng.randrange(256) * 4
        data.append((block[begin:] + block * (count // len(block) + 1))[:count])
        offset += count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    return folder


def hashes(out):
    """Of every file of an output but lancet.json, which tells the time."""
    files = sorted(p for p in out.rglob("*") if p.is_file()) if out.is_dir() else [out]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.name != "lancet.json"}


class Converting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-convert-"))
        cls.model = write_wide(cls.root / "model", 1)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def command(self, *args):
        return [str(LANCET), "convert", *map(str, args), "--quiet"]

    def run_lancet(self, *args, code=0):
        done = subprocess.run(self.command(*args, "--json"), capture_output=True, text=True, cwd=self.work, timeout=120)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)

    def killed_after(self, seconds, *args, by=signal.SIGKILL):
        """True where the run did not end before."""
        process = subprocess.Popen(self.command(*args), cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(by)
            process.wait()
            return True

    def interrupted(self, *args):
        """Killed, and something was finished."""
        journal = self.work / JOURNAL.format(args[1])
        for tenth in range(1, 200):
            self.killed_after(0.01 * tenth, *args)
            if [p for p in journal.glob("*") if p.suffix in (".done", ".part")]:
                return
            if (self.work / args[1]).is_dir():
                shutil.rmtree(self.work / args[1])
            (self.work / args[1]).unlink(missing_ok=True) if (self.work / args[1]).is_file() else None
        self.fail("no run was killed between its first and its last file")

    def check_kills(self, out, *options, resumes=True):
        start = time.monotonic()
        self.run_lancet(self.model, "reference" + pathlib.Path(out).suffix, *options)
        whole = time.monotonic() - start
        expected = hashes(self.work / ("reference" + pathlib.Path(out).suffix))
        if not (self.work / out).suffix:
            self.assertGreater(len([n for n in expected if n.endswith(".safetensors")]), 15)
        rng, kills, resumed, path = random.Random(3), 0, 0, self.work / out
        for _ in range(20 * KILLS):
            if kills >= KILLS:
                break
            # Kills on top of kills, until a run comes to its end.
            while self.killed_after(rng.uniform(0, 0.9 * whole), self.model, out, *options):
                kills += 1
                if rng.random() < 0.3 and not path.exists():
                    resumed += self.run_lancet(self.model, out, *options)["resumed"] > 0
                    break
                self.assertFalse(path.exists() and hashes(path) != expected, "half of it stood under its name")
            if not path.exists():
                continue
            self.assertEqual({n.replace(path.name, "reference" + path.suffix): h for n, h in hashes(path).items()}, expected)
            subprocess.run([str(LANCET), "verify", out], cwd=self.work, check=True, capture_output=True)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.assertGreaterEqual(kills, KILLS)
        if resumes:
            self.assertGreater(resumed, 0)
        if path.exists():
            return
        self.run_lancet(self.model, out, *options)
        self.assertEqual(list(self.work.glob(f".{out}*")), [], "something is left beside the output")

    def test_shards_killed_at_any_moment(self):
        self.check_kills("out", "--shard-size", "3MB", "--dtype", "bfloat16")

    def test_one_gguf_killed_at_any_moment(self):
        self.check_kills("out.gguf")

    def test_one_safetensors_killed_at_any_moment(self):
        self.check_kills("out.safetensors")

    def test_a_small_file_begins_anew(self):
        self.check_kills("out.gguf", "--quantize", "q8_0", resumes=False)

    def test_sigterm_leaves_what_is_finished_and_the_rerun_says_so(self):
        for out, options in (("out", ["--shard-size", "3MB"]), ("out.gguf", [])):
            for hundredth in range(1, 200):
                if self.killed_after(0.01 * hundredth, self.model, out, *options, by=signal.SIGTERM) \
                        and (self.work / JOURNAL.format(out)).exists():
                    break
                if (self.work / out).exists():
                    shutil.rmtree(self.work / out) if (self.work / out).is_dir() else (self.work / out).unlink()
            self.assertFalse((self.work / out).exists())
            self.assertGreater(self.run_lancet(self.model, out, *options)["resumed"], 0)
            self.assertFalse((self.work / JOURNAL.format(out)).exists())

    def test_a_changed_option_or_input_refuses_and_restart_begins_anew(self):
        model = self.work / "model"
        shutil.copytree(self.model, model)
        for out, options in (("out", ["--shard-size", "3MB"]), ("out.gguf", [])):
            self.interrupted(model, out, *options)
            for more, word in ((["--dtype", "bfloat16"], "dtype"), (["--shard-size", "2MB"], "shard_size")):
                error = self.run_lancet(model, out, *([] if "--shard-size" in more else options), *more, code=4)["error"]
                self.assertIn(word, error["message"])
                self.assertIn("--restart", error["hint"])
            config = (model / "config.json").read_text()
            (model / "config.json").write_text(config.replace("{", '{"note": 1, ', 1))
            self.assertIn("configuration", self.run_lancet(model, out, *options, code=4)["error"]["message"])
            (model / "config.json").write_text(config)
            weights = (model / "model.safetensors").read_bytes()
            (model / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
            self.assertIn(str(model), self.run_lancet(model, out, *options, code=4)["error"]["message"])
            done = self.run_lancet(model, out, *options, "--restart")
            self.assertEqual(done["resumed"], 0)
            fresh = "fresh" + pathlib.Path(out).suffix
            self.run_lancet(model, fresh, *options)
            self.assertEqual(list(hashes(self.work / out).values()), list(hashes(self.work / fresh).values()))
            (model / "model.safetensors").write_bytes(weights)

    def test_a_merge_into_one_gguf_goes_on_too(self):
        (self.work / "r.yml").write_text(f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {self.model}}}, {{model: {self.model}}}]\n")

        def merge(out):
            done = subprocess.run([str(LANCET), "merge", "r.yml", out, "--json"], cwd=self.work, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)

        self.assertEqual(merge("straight.gguf")["resumed"], 0)
        part = self.work / ".out.gguf.lancet-merge" / "out.gguf.marks"
        for lines in (3, 8, 14):
            process = subprocess.Popen([str(LANCET), "merge", "r.yml", "out.gguf"], cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and (not part.exists() or part.read_bytes().count(b"\n") < lines):
                time.sleep(0.001)
            process.kill()
            process.wait()
            self.assertFalse((self.work / "out.gguf").exists())
        result = merge("out.gguf")
        self.assertGreater(result["resumed"], 0)
        self.assertEqual((self.work / "out.gguf").read_bytes(), (self.work / "straight.gguf").read_bytes())
        self.assertFalse(part.parent.exists())

    def test_what_has_nothing_finished_stands_in_nobodys_way(self):
        journal = self.work / JOURNAL.format("out")
        journal.mkdir()
        (journal / "journal.json").write_text('{"version": "of long ago"}')
        self.assertEqual(self.run_lancet(self.model, "out")["resumed"], 0)
        self.assertFalse(journal.exists())

    def test_a_finished_shard_that_was_damaged_is_made_again(self):
        self.interrupted(self.model, "out", "--shard-size", "3MB")
        shard = sorted(self.work.glob(".out.lancet-convert/*.safetensors"))[0]
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
        self.run_lancet(self.model, "out", "--shard-size", "3MB")
        self.run_lancet(self.model, "reference", "--shard-size", "3MB")
        self.assertEqual(hashes(self.work / "out"), hashes(self.work / "reference"))

    def test_an_existing_output_is_refused_before_and_replaced_with_force(self):
        (self.work / "out.gguf").write_bytes(b"mine")
        self.run_lancet(self.model, "out.gguf", code=2)
        self.assertEqual(os.listdir(self.work), ["out.gguf"])
        self.run_lancet(self.model, "out.gguf", "--force")
        self.assertEqual(sorted(os.listdir(self.work)), ["out.gguf", "out.gguf.lancet.json"])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)

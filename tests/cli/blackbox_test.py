#!/usr/bin/env python3
"""What a person sees at the shell: output, exit code, files. Usage: blackbox_test.py LANCET [unittest args]."""
import hashlib
import json
import os
import pathlib
import re
import resource
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
FAMILIES = pathlib.Path(__file__).parent.parent / "data" / "families"
PICTURE = pathlib.Path(__file__).parent.parent / "data" / "pictures" / "wide.png"
TRAIN_ROWS = PICTURE.parent.parent / "train" / "sft.jsonl"


def hashes(folder):
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


class Shell(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="lancet-blackbox-"))
        cls.model = tiny_model.write_model(cls.root / "model")
        cls.env = {**os.environ, "LANCET_CACHE": str(cls.root / "cache")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root, ignore_errors=True)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def run_lancet(self, *args, code=0, env=None, **options):
        done = subprocess.run([str(LANCET), *map(str, args)], capture_output=True, text=True, cwd=self.work,
                              env=env or self.env, timeout=120, **options)
        self.assertEqual(done.returncode, code, f"lancet {args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args, code=0):
        done = self.run_lancet(*args, "--json", code=code)
        return json.loads(done.stdout)

    def refused(self, code, pattern, *args):
        """Exit code, a message on stderr, the same in JSON, and nothing new in the working folder."""
        before = sorted(os.listdir(self.work))
        done = self.run_lancet(*args, code=code)
        self.assertRegex(done.stderr, r"(?m)^error: ", "message")
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(sorted(os.listdir(self.work)), before, "left something behind")
        error = self.json(*args, code=code)["error"]
        self.assertEqual(set(error), {"kind", "operation", "message", "hint"})
        self.assertRegex(done.stderr, re.escape(error["message"][:40]))


class Start(Shell):
    """LibTorch is loaded only by commands that run a model."""

    def loaded(self, *args):
        done = self.run_lancet(*args, env={**self.env, "LD_DEBUG": "files"})
        return done.stderr

    def test_help_and_checkpoint_commands_load_no_libtorch(self):
        (self.work / "many").mkdir()
        tensors = {f"model.layers.{i}.weight": ([4], [0.0] * 4) for i in range(1000)}
        tiny_model.write_safetensors(self.work / "many" / "model.safetensors", tensors)
        (self.work / "many" / "config.json").write_text('{"model_type": "llama"}')
        for args in (["--help"], ["edit", "--help"], ["inspect", "many"], ["diff", self.model, self.model],
                     ["convert", self.model, "out"], ["verify", self.model], ["tokenize", self.model, "a b"],
                     ["completion", "bash"]):
            with self.subTest(args=args):
                self.assertNotIn("libtorch", self.loaded(*args))

    def test_the_check_itself_sees_libtorch_where_it_is_loaded(self):
        self.assertIn("libtorch_cpu", self.loaded("score", self.model, "--text", "the capital of France"))

    def test_version_names_commit_and_libtorch(self):
        text = self.run_lancet("--version").stdout
        self.assertRegex(text, r"lancet \d+\.\d+\.\d+ \(commit \w+\)")
        self.assertIn("LibTorch 2.11.0", text)
        document = self.json("--version")
        self.assertEqual(set(document), {"version", "commit", "libtorch", "cuda", "cpu"})
        self.assertIn(f"lancet {document['version']} (commit {document['commit']})", text)

    def test_every_command_has_help_with_two_examples(self):
        text = self.run_lancet("--help").stdout
        commands = re.findall(r"^  ([a-z]+)  ", text, re.M)
        self.assertGreaterEqual(len(set(commands)), 16, text)
        for command in set(commands):
            help_text = self.run_lancet(command, "--help").stdout
            examples = re.findall(r"^  lancet |^  source <\(lancet ", help_text.split("Examples:")[1], re.M)
            self.assertGreaterEqual(len(examples), 2, command)

    def test_verbs_show_the_options_of_their_command(self):
        for verb in (["adapter", "check"], ["locate", "trace"]):
            text = self.run_lancet(*verb, "--help").stdout
            self.assertRegex(text, r"(?m)^Common options:\n  --json", verb)

    def test_the_chat_templates_of_recipes_are_listed(self):
        names = [row["name"] for row in self.json("list", "templates")["templates"]]
        self.assertIn("chatml", names)
        self.assertNotIn("auto", names)

    def test_missing_and_wrong_libtorch_are_exit_6(self):
        wrong = self.work / "torch"
        (wrong / "lib").mkdir(parents=True)
        (wrong / "lib" / "libtorch_cpu.so").write_text("")
        (wrong / "version.py").write_text("__version__ = '2.4.0+cu121'\n")
        for value, pattern in ((self.work / "none", "found no lib/libtorch_cpu.so"), (wrong, "expected LibTorch 2.11.0, found 2.4.0")):
            env = {**self.env, "LANCET_LIBTORCH": str(value)}
            done = self.run_lancet("score", self.model, "--text", "a b c", code=6, env=env)
            self.assertRegex(done.stderr, pattern)


class Checkpoints(Shell):
    def test_inspect_gives_the_fields_of_the_contract(self):
        d = self.json("inspect", self.model, "--stats")
        self.assertEqual(d["format"], "huggingface")
        self.assertEqual(d["architecture"], "llama")
        self.assertEqual(d["dtypes"], {"F32": 20})
        self.assertEqual(d["tokenizer"], {"kind": "BPE", "vocab_size": len(tiny_model.tokenizer_json()["model"]["vocab"])})
        norm = next(t for t in d["tensors"] if t["name"] == "model.norm.weight")
        self.assertEqual((norm["dtype"], norm["shape"], norm["bytes"]), ("F32", [32], 128))
        self.assertEqual((norm["stats"]["min"], norm["stats"]["max"], norm["stats"]["nan"]), (1, 1, 0))
        self.assertEqual(d["parameters"], sum(t["bytes"] for t in d["tensors"]) // 4)

    def test_convert_to_gguf_and_back_gives_the_same_weights(self):
        self.run_lancet("convert", self.model, "m.gguf")
        self.run_lancet("convert", "m.gguf", "back")
        self.assertTrue(self.json("diff", self.model, "back", "--check")["identical"])
        self.assertTrue(self.json("verify", "back")["ok"])
        for args in (["tokenize", "TEXT"],):
            a = self.json(args[0], self.model, "France is the capital 12")
            b = self.json(args[0], "back", "France is the capital 12")
            self.assertEqual(a["ids"], b["ids"])

    def test_convert_tells_what_a_gguf_has_no_place_for(self):
        shutil.copytree(FAMILIES / "deepseek_v3", self.work / "deep")
        weights = self.work / "deep" / "model.safetensors"
        data = weights.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        end = len(data) - 8 - size
        header["model.layers.2.eh_proj.weight"] = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        weights.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:] + bytes(8))
        done = self.run_lancet("convert", "deep", "deep.gguf")
        self.assertIn("left out the layer behind the last one (multi-token prediction): 1 tensors", done.stderr)

    def test_converted_to_another_dtype_the_config_says_so(self):
        self.run_lancet("convert", self.model, "half", "--dtype", "bfloat16")
        self.assertEqual(self.json("inspect", "half")["dtypes"], {"BF16": 20})
        config = json.loads((self.work / "half" / "config.json").read_text())
        self.assertEqual(config["dtype"], "bfloat16")

    def test_shards_hold_the_same_tensors(self):
        self.run_lancet("convert", self.model, "shards", "--shard-size", "30KB")
        index = json.loads((self.work / "shards" / "model.safetensors.index.json").read_text())
        self.assertGreater(len(set(index["weight_map"].values())), 1)
        self.assertTrue(self.json("diff", self.model, "shards", "--check")["identical"])

    def test_diff_check_is_exit_7_and_names_the_tensor(self):
        other = tiny_model.write_model(self.work / "other", seed=1)
        d = self.json("diff", self.model, other, "--check", code=7)
        self.assertFalse(d["identical"])
        self.assertIn("model.layers.1.mlp.down_proj.weight", [t["name"] for t in d["tensors"]])

    def test_the_manifest_says_what_was_run_and_what_it_took(self):
        self.run_lancet("convert", self.model, "out", "--seed", "4")
        manifest = json.loads((self.work / "out" / "lancet.json").read_text())
        self.assertEqual(manifest["arguments"], ["convert", str(self.model), "out", "--seed", "4"])
        self.assertEqual(manifest["inputs"][0]["files"][0]["sha256"], hashes(self.model)["model.safetensors"])
        self.assertGreater(manifest["seconds"], 0)
        self.assertGreater(manifest["peak_memory"], 1 << 20)

    def test_diff_compares_what_is_stored_in_other_dtypes(self):
        self.run_lancet("convert", self.model, "half", "--dtype", "bfloat16")
        found = self.json("diff", self.model, "half", "--check", code=7)
        self.assertEqual(found["mismatched"], [])
        row = next(t for t in found["tensors"] if t["name"] == "model.layers.1.mlp.down_proj.weight")
        cast = next(t for t in found["dtypes"] if t["name"] == row["name"])
        self.assertEqual((cast["dtype_a"], cast["dtype_b"]), ("F32", "BF16"))
        self.assertTrue(0 < row["rel_norm"] < 0.01 and row["cosine"] > 0.999 and row["changed"] > 0.9)
        text = self.run_lancet("diff", self.model, "half", "--top", "3").stdout
        self.assertEqual(text.count("F32 -> BF16"), 3)
        self.run_lancet("convert", "half", "back", "--dtype", "float32")
        text = self.run_lancet("diff", "half", "back", "--check", code=7).stdout
        self.assertRegex(text, r"\d+ tensors of equal values, stored in other dtypes\n$")
        other = tiny_model.write_model(self.work / "wide", d_ff=96)
        text = self.run_lancet("diff", self.model, other, "--top", "2").stdout
        self.assertRegex(text, r"other shape: model\S+, \[64,32\] in A, \[96,32\] in B\n")
        self.assertRegex(text, r", 6 in shape\n$")

    def test_verify_finds_a_changed_byte_by_its_hash(self):
        self.run_lancet("convert", self.model, "copy")
        with open(self.work / "copy" / "model.safetensors", "r+b") as f:
            f.seek(-1, os.SEEK_END)
            byte = f.read(1)
            f.seek(-1, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        d = self.json("verify", "copy", code=7)
        self.assertRegex(d["problems"][0], "model.safetensors: expected SHA-256")

    def test_verify_of_a_truncated_file_is_exit_3(self):
        shutil.copytree(self.model, self.work / "cut")
        path = self.work / "cut" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
        self.assertFalse(self.json("verify", "cut", code=3)["ok"])

    def test_forward_of_ids_gives_logits_and_hidden_states(self):
        self.run_lancet("forward", self.model, "--ids", "1,2,3", "--hidden", "--out", "states.safetensors")
        shapes = {t["name"]: t["shape"] for t in self.json("inspect", "states.safetensors", "--tensors")["tensors"]}
        self.assertEqual(shapes["logits"][:2], [1, 3])
        self.assertEqual(shapes["hidden.0"][:2], [1, 3])
        self.refused(2, "--ids", "forward", self.model, "--out", "x.safetensors")

    def test_template_and_tokenize(self):
        (self.work / "chat.json").write_text(json.dumps([{"role": "user", "content": "hé"}]))
        d = self.json("template", self.model, "--messages", "chat.json", "--add-generation-prompt")
        self.assertEqual(d["text"], "[user] hé\n[assistant]")
        spans = self.run_lancet("template", self.model, "--messages", "chat.json", "--spans")
        self.assertIn("no {% generation %} blocks", spans.stderr)
        (self.work / "lines.jsonl").write_text('{"text":"France"}\n{"ids":[1,2]}\n')
        lines = [json.loads(x) for x in self.run_lancet("tokenize", self.model, "--file", "lines.jsonl").stdout.splitlines()]
        self.assertEqual(len(lines), 2)
        self.assertEqual(self.json("tokenize", self.model, "--decode", *lines[0]["ids"])["text"], "France")


class BadInput(Shell):
    def test_usage_errors_are_exit_2(self):
        m = self.model
        edit = ["edit", m, "-o", "out", "--target", "Rome"]
        (self.work / "papers").mkdir()
        (self.work / "papers" / "notes.txt").write_text("mine")
        for pattern, *args in [
            ("did you mean '--json'", "inspect", m, "--jsno"),
            ("did you mean '--subject'", "edit", "--subjetc", "France"),  # before what is missing
            ("did you mean 'inspect'", "inspct", m),
            ("expected --subject", *edit),
            (r"\{\}", *edit, "--subject", "France", "--prompt", "The capital of France is"),
            ("target", "edit", m, "-o", "out", "--target", "", "--subject", "France", "--prompt", "The capital of {} is"),
            ("somewhere to write", "edit", m, "--subject", "France", "--prompt", "{} is", "--target", "Rome"),
            ("did you mean 'rome'", *edit, "--subject", "France", "--prompt", "{} is", "--method", "romme"),
            ("did you mean 'steps'", *edit, "--subject", "France", "--prompt", "{} is", "--method-option", "stpes=3"),
            ("steps", *edit, "--subject", "France", "--prompt", "{} is", "--method-option", "steps=-1"),
            ("layer", *edit, "--subject", "France", "--prompt", "{} is", "--layers", "99"),
            ("another answer than 'true'", *edit, "--subject", "France", "--prompt", "{} is", "--true", "Rome"),
            ("--last-wins", *edit, "--subject", "France", "--prompt", "{} is", "--last-wins"),
            ("--requests and --target", *edit, "--requests", "facts.jsonl"),
            ("-o and --dump", *edit, "--subject", "France", "--prompt", "{} is", "--dump", "./out/", "--plan"),
            ("expected one of --prompt(?s:.*)found none(?s:.*)hint: lancet generate MODEL", "generate", m),
            ("hint: lancet tokenize MODEL", "tokenize", m),
            ("hint: lancet forward MODEL", "forward", m, "--out", "x.safetensors"),
            ("found an empty one", "generate", m, "--prompt", ""),
            ("found an empty one", "forward", m, "--prompt", "", "--out", "x.safetensors"),
            ("found '1,,2'", "generate", m, "--ids", "1,,2"),
            ("found '1,,2'", "forward", m, "--ids", "1,,2", "--out", "x.safetensors"),
            ("safetensors file", "forward", m, "--ids", "1", "--out", "x.gguf"),
            ("above 0 and at most 1", "generate", m, "--prompt", "text", "--top-p", "0"),
            ("TEXT or --file", "tokenize", m, "text", "--file", "lines.jsonl"),
            ("expected one of --text(?s:.*)hint: lancet score MODEL", "score", m),
            ("found an empty one", "score", m, "--text", ""),
            ("q8_0", "convert", m, "out", "--quantize", "q8_0"),
            ("expected ids", "tokenize", m, "--decode", "999999"),
            ("-o OUT or --in-place", "undo", m),
            ("--image alone", "tokenize", m, "text", "--image", PICTURE),
            ("<image>", "generate", m, "--chat", "text", "--image", PICTURE),
            ("--dtype|dtype", "convert", m, "out", "--dtype", "float31"),
            ("--dtype bfloat16", "score", m, "--text", "text", "--activations", "bfloat16"),
            ("activations in bfloat16", "score", m, "--text", "text", "--dtype", "bfloat16", "--activations", "bfloat16",
             "--offload", "disk", "--plan"),
            ("--dtype bfloat16", "train", m, "--data", TRAIN_ROWS, "-o", "out", "--activations", "bfloat16", "--plan"),
            ("activations in bfloat16", "train", m, "--data", TRAIN_ROWS, "-o", "out", "--dtype", "bfloat16",
             "--activations", "bfloat16", "--base-quant", "nf4", "--plan"),
            ("--offload", "diff", m, m, "--offload", "disk"),  # these run no model
            ("--offload", "convert", m, "out", "--offload", "disk"),
            ("--activations", "merge", m, "out", "--activations", "float32"),
            ("--activations", "tokenize", m, "text", "--activations", "float32"),
            ("a size such as 2GiB, found '12q'", "inspect", m, "--memory", "12q"),  # though it has no use for it
            ("a size such as 2GiB, found '0'", "inspect", m, "--memory", "0"),
            ("from 0 to", "score", m, "--text", "a", "--seed", "-3"),
            ("from 0 to", "score", m, "--text", "a", "--seed", "18446744073709551616"),
            ("from 0 to", "diff", m, m, "--top", "-1"),
            ("--all-facts: expected --requests", "locate", "trace", m, "--prompt", "{} is", "--subject", "France", "--all-facts"),
            ("--window: expected mlp", "locate", "trace", m, "--prompt", "{} is", "--subject", "France", "--kind",
             "hidden,severed_mlp", "--window", "5"),
            ("cuda:N, found 'cuda:x'", "tokenize", m, "text", "--device", "cuda:x"),
            ("float16, found 'banana'", "diff", m, m, "--dtype", "banana"),
            ("--shard-size: expected a size", "convert", m, "out", "--shard-size", "0", "--plan"),
            ("read as an input", *edit, "--subject", "France", "--prompt", "{} is", "--dump", pathlib.Path(m) / "model.safetensors", "--force"),
            ("holds no model", "edit", m, "-o", "papers", "--target", "Rome", "--subject", "France", "--prompt", "{} is", "--force", "--plan"),
        ]:
            with self.subTest(args=args):
                self.refused(2, pattern, *args)

    def test_common_options_that_change_nothing_are_warned_of(self):
        for option, *args in (("--memory", "inspect", self.model, "--memory", "2GiB"), ("--dtype", "verify", self.model, "--dtype", "float32"),
                              ("--memory", "convert", self.model, "out", "--plan", "--memory", "2GiB")):
            self.assertIn(f"warning: {option} changes nothing", self.run_lancet(*args).stderr)
            self.assertEqual(self.run_lancet(*args, "--quiet").stderr, "")

    def test_missing_and_damaged_inputs_are_exit_3(self):
        (self.work / "empty.safetensors").write_bytes(b"")
        (self.work / "junk.gguf").write_bytes(b"GGUF" + b"\xff" * 64)
        (self.work / "folder").mkdir()
        (self.work / "facts.jsonl").write_text('{"subject": 3}\n')
        for pattern, *args in [
            ("no/such/model", "inspect", "no/such/model"),
            ("hint: .*the model or the adapter", "inspect", f"{self.model}+nope"),
            ("adapter: nope", "tokenize", f"{self.model}+nope", "text"),
            ("empty.safetensors", "inspect", "empty.safetensors"),
            ("junk.gguf", "inspect", "junk.gguf"),
            ("folder", "generate", "folder", "--prompt", "x"),
            ("facts.jsonl", "edit", self.model, "--requests", "facts.jsonl", "-o", "out"),
            ("undo", "undo", self.model, "-o", "out"),
            ("nothing.json", "template", self.model, "--messages", "nothing.json"),
        ]:
            with self.subTest(args=args):
                self.refused(3, pattern, *args)

    def test_an_unsupported_architecture_is_exit_4_with_the_nearest(self):
        shutil.copytree(self.model, self.work / "other")
        config = json.loads((self.work / "other" / "config.json").read_text())
        (self.work / "other" / "config.json").write_text(json.dumps({**config, "model_type": "lama"}))
        self.refused(4, "llama", "generate", "other", "--prompt", "x")
        self.refused(4, "image tokenizer", "tokenize", self.model, "--image", PICTURE)

    def test_an_existing_output_is_refused_without_force(self):
        (self.work / "out").mkdir()
        (self.work / "out" / "mine.txt").write_text("precious")
        self.refused(2, "out", "convert", self.model, "out")
        self.refused(2, "holds no model", "convert", self.model, "out", "--force")
        self.assertEqual((self.work / "out" / "mine.txt").read_text(), "precious")

    def test_force_replaces_a_model(self):
        self.run_lancet("convert", tiny_model.write_model(self.work / "other", seed=1), "out")
        self.refused(2, "out", "convert", self.model, "out")
        self.run_lancet("convert", self.model, "out", "--force")
        self.assertTrue(self.json("diff", self.model, "out", "--check")["identical"])

    def test_a_full_disk_is_exit_6_and_leaves_nothing(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        for args in (["convert", self.model, "out"], ["convert", self.model, "out.gguf"],
                     ["edit", self.model, "--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome",
                      "-o", "out", "--no-guards", "--covariance", "none", "--layers", "1"]):
            with self.subTest(args=args):
                done = self.run_lancet(*args, code=6, preexec_fn=limit)
                self.assertRegex(done.stderr, "error: ")
                self.assertEqual(os.listdir(self.work), [])

    def test_a_killed_run_leaves_nothing_under_the_final_name(self):
        big = tiny_model.write_model(self.work / "big", layers=2, d_model=128, d_ff=512)
        for delay in (0.005, 0.01, 0.02, 0.04):
            run = subprocess.Popen([str(LANCET), "convert", str(big), "out"], cwd=self.work, env=self.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            run.send_signal(signal.SIGKILL)
            run.wait()
            if (self.work / "out").exists():
                self.assertTrue(self.json("verify", "out")["ok"])
                shutil.rmtree(self.work / "out")
        self.run_lancet("convert", big, "out")
        self.assertEqual([n for n in os.listdir(self.work) if n.startswith(".")], [], "leftovers of killed runs")

    def test_a_closed_pipe_ends_it_quietly_as_it_ends_other_tools(self):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as closed:
            done = subprocess.run([LANCET, "list", "methods"], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, ""))

    def test_a_full_standard_output_is_exit_6(self):
        for args in (["list", "methods"], ["list", "methods", "--json"], ["inspect", "none", "--json"], ["--help"], ["--version"],
                     ["--version", "--json"], ["adapter", "merge", "--help"], ["completion", "zsh"], []):
            with self.subTest(args=args), open("/dev/full", "wb") as full:
                done = subprocess.run([LANCET, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr[:7]), (3 if "none" in args else 6, "error: "))

    def test_an_error_keeps_its_exit_code_where_standard_error_is_full_or_closed(self):
        for redirect in ("2>/dev/full", "2>&-", ">&- 2>&-"):
            done = subprocess.run(f"'{LANCET}' inspect nothing {redirect}", shell=True, cwd=self.work, env=self.env, timeout=60)
            self.assertEqual(done.returncode, 3, redirect)

    def test_a_pipe_or_a_list_in_the_place_of_a_config_is_exit_3(self):
        shutil.copytree(self.model, self.work / "m")
        config = self.work / "m" / "config.json"
        config.unlink()
        os.mkfifo(config)
        self.refused(3, "expected a regular file", "inspect", "m")
        config.unlink()
        for text in ("[]", '{"model_type": 3}'):
            config.write_text(text)
            self.refused(3, "config.json", "inspect", "m")

    def test_an_empty_message_of_a_chat_is_none_given(self):
        done = self.run_lancet("generate", self.model, "--chat", "", "--max-tokens", "1", stdin=subprocess.DEVNULL)
        self.assertEqual(done.stdout, "")  # a conversation in which nobody spoke

    def test_sigterm_stops_within_two_seconds_with_130(self):
        run = subprocess.Popen([str(LANCET), "generate", str(self.model), "--prompt", "the", "--max-tokens", "1000000"],
                               cwd=self.work, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(1.5)
        start = time.monotonic()
        run.send_signal(signal.SIGTERM)
        run.wait(timeout=10)
        run.stderr.close()
        self.assertEqual(run.returncode, 130)
        self.assertLess(time.monotonic() - start, 2)


class Surgery(Shell):
    EDIT = ["--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome", "--no-guards",
            "--covariance", "none", "--layers", "1"]

    # A random model cannot be taught: the edit is written because of --no-guards, and the exit code is still 7.
    # That edits hold on a real model is what tests/surgery and the commands of the docs show.

    def edit(self, out, *more):
        return self.json("edit", self.model, *self.EDIT, "-o", out, *more, code=7)

    def test_plan_writes_nothing(self):
        d = self.json("edit", self.model, *self.EDIT, "-o", "out", "--plan")
        self.assertTrue(d["plan"])
        self.assertEqual(os.listdir(self.work), [])

    def test_one_matrix_changes_and_undo_restores_every_file(self):
        self.edit("out")
        d = self.json("diff", self.model, "out")
        self.assertEqual([t["name"] for t in d["tensors"]], ["model.layers.1.mlp.down_proj.weight"])
        self.assertRegex(self.run_lancet("undo", "out", "-o", "undone", "--plan").stdout, r"^would remove: 1\nwould remain: none\n")
        self.run_lancet("undo", "out", "-o", "undone")
        before, after = hashes(self.model), hashes(self.work / "undone")
        self.assertEqual({k: after.get(k) for k in before}, before)
        self.run_lancet("undo", "out", "--in-place")
        self.assertTrue(self.json("diff", self.model, "out", "--check")["identical"])

    def test_chat_templates_come_along_and_an_undo_in_place_leaves_them(self):
        model = self.work / "talking"
        shutil.copytree(self.model, model)
        (model / "additional_chat_templates").mkdir()
        (model / "additional_chat_templates/tool_use.jinja").write_text("T{{ tools | length }}")
        self.json("edit", "talking", *self.EDIT, "-o", "out", code=7)
        self.run_lancet("undo", "out", "--in-place")
        self.assertEqual((self.work / "out/additional_chat_templates/tool_use.jinja").read_text(), "T{{ tools | length }}")
        self.run_lancet("verify", "out")
        self.assertEqual(sorted(os.listdir(self.work)), ["out", "talking"])
        (self.work / "chat.json").write_text(json.dumps({"messages": [{"role": "user", "content": "hi"}], "tools": [{}]}))
        self.assertEqual(self.json("template", "out", "--messages", "chat.json")["text"], "T1")

    def test_the_same_edit_gives_the_same_files_for_any_thread_count(self):
        skip = {"lancet.json"}  # holds time and peak memory
        runs = []
        for i, more in enumerate((["--threads", "1"], ["--threads", "2"], [])):
            self.edit(f"out{i}", *more)
            runs.append({k: v for k, v in hashes(self.work / f"out{i}").items() if k not in skip})
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(runs[1], runs[2])

    def test_a_delta_applied_is_the_edited_model(self):
        self.edit("out", "--delta", "fact.safetensors")
        self.run_lancet("apply", self.model, "fact.safetensors", "-o", "applied")
        self.assertTrue(self.json("diff", "out", "applied", "--check")["identical"])
        d = self.json("show", "fact.safetensors")
        self.assertEqual((d["edits"][0]["subject"], d["edits"][0]["target"]), ("France", "Rome"))

    def test_one_edit_of_two_can_be_taken_out(self):
        self.edit("one")
        self.run_lancet("edit", "one", "--subject", "Paris", "--prompt", "{} is the", "--target", "Rome", *self.EDIT[6:], "-o", "two", code=7)
        ids = [e["id"] for e in self.json("show", "two")["edits"]]
        self.assertEqual(len(set(ids)), 2)
        d = self.json("undo", "two", "--edit", ids[1], "-o", "back")
        self.assertEqual((d["removed"], d["remaining"]), ([ids[1]], [ids[0]]))
        self.assertTrue(self.json("diff", "one", "back", "--check")["identical"])
        self.run_lancet("undo", "two", "-o", "all")
        self.assertTrue(self.json("diff", self.model, "all", "--check")["identical"])

    def test_an_edit_that_fails_is_exit_7_and_writes_nothing(self):
        d = self.json("edit", self.model, "--subject", "France", "--prompt", "The capital of {} is", "--target", "Rome",
                      "--covariance", "none", "--layers", "1", "--method-option", "steps=1", "-o", "out", code=7)
        self.assertIn("error", d)
        self.assertFalse(all(e["ok"] for e in d["edits"]))
        self.assertEqual(os.listdir(self.work), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

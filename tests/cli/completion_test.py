#!/usr/bin/env python3
"""What the shell completes. Usage: completion_test.py LANCET [unittest args]."""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

from terminal import Terminal

LANCET = pathlib.Path(sys.argv[1]).resolve()


def output_of(*args):
    return subprocess.run([LANCET, *args], check=True, capture_output=True, text=True).stdout


class Bash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lancet-completion-")
        cls.work = pathlib.Path(cls.folder.name)
        (cls.work / "script").write_text(output_of("completion", "bash"))
        for name in ["my model.gguf", "tiny.gguf"]:
            (cls.work / name).write_text("")
        (cls.work / "locate").mkdir()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def offered(self, *words):
        """What stands in COMPREPLY after the words, the last of which is being typed."""
        array = " ".join(shlex.quote(w) for w in ["lancet", *words])
        done = subprocess.run(
            ["bash", "--norc", "-c", f"source ./script; COMP_WORDS=({array}); COMP_CWORD={len(words)}; _lancet; "
             'for word in "${COMPREPLY[@]}"; do echo "$word"; done'], capture_output=True, text=True, cwd=self.work)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_commands_and_verbs_are_completed(self):
        self.assertEqual(self.offered("loc"), ["locate"])
        self.assertIn("graft-tokens", self.offered(""))
        self.assertEqual(self.offered("locate", "tr"), ["trace"])
        self.assertEqual(self.offered("adapter", ""), ["check", "merge", "extract", "combine"])
        self.assertEqual(self.offered("adapter", "--json", "ex"), ["extract"])

    def test_options_are_those_of_the_verb_and_of_every_command(self):
        trace = self.offered("locate", "trace", "--")
        self.assertLessEqual({"--kind", "--samples", "--json", "--offload", "--help"}, set(trace))
        self.assertNotIn("--paraphrase", trace)
        self.assertEqual(self.offered("graft-tokens", "M", "--me"), ["--method", "--memory"])
        for page in ["edit", "train", "adapter combine", "locate neurons", "curate"]:
            told = set(re.findall(r"^  (?:-\w,)?(--[a-z0-9-]+)", output_of(*page.split(), "--help"), re.M))
            self.assertLessEqual(told, set(self.offered(*page.split(), "--")), page)

    def test_values_are_completed_where_they_are_known(self):
        for words, expected in [
            (("list", "me"), ["methods"]), (("completion", ""), ["bash", "zsh", "fish"]),
            (("edit", "M", "--method", "m"), ["memit"]), (("locate", "sweep", "M", "--method", "ro"), ["rome"]),
            (("merge", "--method", "sl"), ["slerp"]), (("merge", "--semantics", "p"), ["paper"]),
            (("locate", "trace", "M", "--kind", "s"), ["severed_mlp", "severed_attention"]),
            (("train", "M", "--loss", "s"), ["sft"]), (("train", "M", "--schedule", "w"), ["wsd"]),
            (("adapter", "combine", "--method", "kn"), ["knots"]), (("edit", "--dtype", "b"), ["bfloat16"]),
            (("edit", "M", "--method", "=", "al"), ["alphaedit"]),
            (("generate", "M", "--device", ""), ["auto", "cpu", "cuda", "cuda:0"]),
            (("synthesize", "--recipe", "pr"), ["preference"]), (("curate", "r", "--filter", "mi"), ["minhash"]),
        ]:
            self.assertEqual(self.offered(*words), expected, words)

    def test_values_are_those_that_lancet_lists(self):
        for kind, words in [("methods", ("merge", "--method")), ("editors", ("edit", "--method")),
                            ("losses", ("train", "--loss")), ("recipes", ("synthesize", "--recipe")),
                            ("filters", ("curate", "--filter"))]:
            listed = re.findall(r"^([a-z]\w+)  ", output_of("list", kind), re.M)
            self.assertEqual(self.offered(*words, ""), [name for name in listed if name != "name"])

    def test_a_file_name_with_a_blank_is_one_word(self):
        self.assertEqual(self.offered("inspect", "my"), ["my model.gguf"])
        self.assertEqual(self.offered("edit", "M", "--requests", "ti"), ["tiny.gguf"])
        self.assertEqual(self.offered("inspect", "my\\ "), [])  # the shell's own completion takes over

    def test_a_shell_types_it_with_a_backslash(self):
        env = {**os.environ, "PS1": "$ ", "TERM": "dumb", "INPUTRC": "/dev/null"}
        with Terminal(self, "bash", ["bash", "--norc", "--noprofile", "-i"], self.work, env) as bash:
            bash.type(b"source ./script; echo re''ady\n", b"ready")
            for typed, expected in [(b"lancet inspect my\t", b"my\\ model.gguf "), (b"lancet loc\t", b"locate "),
                                    (b"lancet inspect my\\ m\t", b"my\\ model.gguf ")]:
                bash.type(typed, expected)
                bash.erase_line()


class Fish(unittest.TestCase):
    def test_every_option_is_one_of_its_command(self):
        pages = {}
        lines = [line for line in output_of("completion", "fish").splitlines() if line.startswith("complete ")]
        for line in lines:
            words = shlex.split(line.replace("\\'", ""))
            place = words[words.index("-n") + 1].split()[1:]
            names = [words[i + 1] for i, word in enumerate(words) if word == "-l"]
            page = pages.setdefault(" ".join(place), output_of(*place, "--help"))
            for name in names:
                self.assertRegex(page, rf"--{name}\b", line)
        self.assertIn("locate trace", pages)
        kinds = [line for line in lines if "'__lancet_at locate trace'" in line and "-l kind " in line]
        self.assertEqual(len(kinds), 1)
        self.assertIn("-x -a 'hidden mlp attention severed_mlp severed_attention'", kinds[0])
        self.assertTrue(any("'__lancet_ends locate' -f -a trace " in line for line in lines))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

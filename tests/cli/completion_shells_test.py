#!/usr/bin/env python3
"""What zsh and fish themselves complete. Usage: completion_shells_test.py LANCET zsh|fish SHELL [unittest args]."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from terminal import Terminal

LANCET, NAME, SHELL = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]


class Shell(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lancet-completion-")
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        for name in ["my model.gguf", "tiny.gguf", "bin/lancet", "fpath/_lancet"]:
            (self.work / name).parent.mkdir(exist_ok=True)
            (self.work / name).write_text("")
        (self.work / "bin" / "lancet").chmod(0o755)
        self.env = {**os.environ, "HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work), "TERM": "dumb", "PS1": "> ",
                    "PATH": f"{self.work}/bin:{os.environ['PATH']}"}
        script = subprocess.run([LANCET, "completion", NAME], check=True, capture_output=True, text=True).stdout
        (self.work / "fpath" / "_lancet").write_text(script)


class Zsh(Shell):
    def complete(self, init, lines):
        """Types lines that end in a tab, waits for what they become."""
        with Terminal(self, SHELL, ["zsh", "-f", "-i"], self.work, self.env) as zsh:
            zsh.type(f"PS1='> '; {init}; echo re''ady\n".encode(), b"ready")
            for typed, expected in lines:
                zsh.type(typed + b"\t", expected)
                zsh.erase_line()

    def test_the_first_tab_completes_from_fpath_and_from_a_sourced_script(self):
        init = "autoload -Uz compinit; compinit -u -d $HOME/dump"
        lines = [(b"lancet loc", b"locate "), (b"lancet merge --meth", b"--method "), (b"lancet merge --method sle", b"slerp "),
                 (b"lancet adapter ex", b"extract "), (b"lancet inspect my", b"my\\ model.gguf "), (b"lancet list me", b"methods ")]
        self.complete("fpath=($HOME/fpath $fpath); " + init, lines)
        self.complete(init + "; source fpath/_lancet", lines)


class Fish(Shell):
    def offered(self, line):
        done = subprocess.run([SHELL, "-c", f"source fpath/_lancet; complete -C '{line}'"], capture_output=True, text=True,
                              cwd=self.work, env=self.env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [each.split("\t")[0] for each in done.stdout.splitlines()]

    def test_commands_options_values_and_files(self):
        for line, expected in [("lancet loc", ["locate"]), ("lancet adapter ", ["check", "combine", "extract", "merge"]),
                               ("lancet merge --meth", ["--method"]), ("lancet merge --method sle", ["slerp"]),
                               ("lancet merge --method=sle", ["--method=slerp"]), ("lancet list me", ["methods"]),
                               ("lancet inspect ti", ["tiny.gguf"]), ("lancet inspect my", ["my model.gguf"]),
                               ("lancet train M --data ti", ["tiny.gguf"]), ("lancet adapter merge M A --dtype b", ["bfloat16"]),
                               ("lancet locate sweep M --method ro", ["rome"]), ("lancet --vers", ["--version"])]:
            with self.subTest(line):
                self.assertEqual(self.offered(line), expected)
        self.assertNotIn("--paraphrase", self.offered("lancet locate trace --"))
        self.assertIn("--samples", self.offered("lancet locate trace --"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], NAME.capitalize(), *sys.argv[4:]])

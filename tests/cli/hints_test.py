#!/usr/bin/env python3
"""What a refusal tells to do next. Usage: hints_test.py LANCET [unittest args]."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

LANCET = pathlib.Path(sys.argv[1]).resolve()


class Hints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lancet-hints-")
        cls.work = pathlib.Path(cls.folder.name)
        tiny_model.write_model(cls.work / "model")
        (cls.work / "rows.jsonl").write_text('{"prompt": "a b", "completion": "c"}\n')
        (cls.work / "note.txt").write_text("a note\n")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def refused(self, code, line, error, hint):
        done = subprocess.run([LANCET, *line.split()], capture_output=True, text=True, cwd=self.work,
                              env={**os.environ, "LANCET_CACHE": str(self.work / "cache")})
        self.assertEqual(done.returncode, code, f"{line}\n{done.stderr}")
        self.assertRegex(done.stderr, rf"(?m)^error: .*{error}", line)
        self.assertRegex(done.stderr, rf"(?m)^hint: .*{hint}", line)
        self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_what_is_not_there_is_looked_for_nearby(self):
        for line, error, hint in [
            ("inspect modle", "expected a model", r"looked for '/.*/modle'; did you mean '/.*/model'\?"),
            ("inspect fullyunlike", "expected a model", "looked for '/.*/fullyunlike'; models are read from this machine"),
            ("inspect models/of/mine", "expected a model", "there is no '/.*/models'; did you mean '/.*/model'"),
            ("train model --data row.jsonl -o a", "cannot read 'row.jsonl'", "did you mean '/.*/rows.jsonl'"),
            ("edit model --requests row.json -o a", "cannot read", "did you mean '/.*/rows.jsonl'"),
            ("covariance model --layers 1 --text not.txt -o s", "cannot read", "did you mean '/.*/note.txt'"),
            ("adapter check model fullyunlike", "no such directory", "looked for"),
            ("adapter check model model", "no adapter_config.json", "an adapter is a folder of"),
        ]:
            self.refused(3, line, error, hint)

    def test_a_wrong_option_points_at_the_help_that_lists_it(self):
        for line, error, hint in [
            ("locate trace model --sampels 3", "--sampels", "'--samples'. see lancet locate trace --help"),
            ("locate trace model --jsno", "--jsno", "'--json'. see lancet locate trace --help"),
            ("locate trac model", "expected one of trace, patch, .*found 'trac'", "'trace'. see lancet locate --help"),
            ("adapter chek model a", "found 'chek'", "'check'. see lancet adapter --help"),
            ("adapter", "expected one of check, .*found none", "see lancet adapter --help"),
            ("locate lens model", "expected --prompt, found none", "lancet locate lens MODEL --prompt"),
            ("locate sweep model", "expected --prompt or --requests", "lancet locate sweep MODEL --prompt"),
            ("locate trace model --sigma 0 --prompt a", "a number above 0, found '0'", "locate trace --help"),
            ("undo model", "expected -o OUT or --in-place", "--in-place replaces EDITED"),
        ]:
            self.refused(2, line, error, hint)

    def test_a_recipe_or_job_of_options_names_the_option(self):
        merge = "merge --models model model --check --method "
        teacher = "synthesize --seeds rows.jsonl --teacher http://127.0.0.1:9/v1 --model m -o d.jsonl --plan "
        for line, error, hint in [
            (merge + "slerp --set tt=0.5", "--set: unknown parameter 'tt'", "did you mean 't'"),
            (merge + "slerp --set t=x", "--set: t: expected a number in .0, 1., found 'x'", "t: 0 gives"),
            (merge + "slep --set t=1", "--method: unknown merge_method 'slep'", "did you mean 'slerp'"),
            (teacher + "--temperature x", "--temperature: .*from 0 to 2, found 'x'", "synthesize --help"),
            (teacher + "--recipe instuct", "--recipe: .*'instuct'", "did you mean 'instruct'"),
            (teacher + "--set foo=1", "--set: unknown key 'foo'", "known keys"),
        ]:
            self.refused(2, line, error, hint)

    def test_a_job_says_where_a_missing_model_or_text_stands(self):
        job = "name: x\ndata: {rows: rows.jsonl}\nstudent: {model: %s}\ntrain: {steps: 1}\nevaluate:\n  perplexity: [%s]\noutput: r\n"
        (self.work / "student.yml").write_text(job % ("modle", "note.txt"))
        (self.work / "text.yml").write_text(job % ("model", "not.txt"))
        self.refused(3, "distill student.yml --plan", r"student.yml:3:18: student: model: .*'modle'", "did you mean '/.*/model'")
        self.refused(3, "distill text.yml --plan", r"text.yml:6:15: evaluate: perplexity: .*not.txt'", "did you mean '/.*/note.txt'")

    def test_what_is_no_file_of_statistics_is_told_so(self):
        self.refused(3, "covariance model --layers 1 --import note.txt -o s", "an .npz or .safetensors file, found neither", "ROME's are .npz")

    def test_a_value_out_of_range_says_the_range_and_the_nearest(self):
        train = "train model --data rows.jsonl -o a "
        for line, error, hint in [
            (train + "--lr -1", "--lr: expected a number above 0, found '-1'", "see lancet train --help"),
            (train + "--rank 0", "--rank: .*1 to 4096", "see lancet train --help"),
            (train + "--optimizer adam", "adamw,adamw8bit", "did you mean 'adamw'"),
            (train + "--schedule cosin", "cosine,linear,constant,wsd", "did you mean 'cosine'"),
            (train + "--checkpointing aut", "auto,on,off", "did you mean 'auto'"),
            ("locate trace model --kind hiden", "--kind", "did you mean 'hidden'"),
            ("covariance model --layers 99 --text note.txt -o s", "--layers", "layers, counted from 0"),
        ]:
            self.refused(2, line, error, hint)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])

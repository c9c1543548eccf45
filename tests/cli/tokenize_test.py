#!/usr/bin/env python3
"""`lancet tokenize` as a person sees it: bytes that are not UTF-8, --lossy, --offsets, hostile tokenizer files.

    tokenize_test.py LANCET
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import tiny_model

LANCET = None
BAD = [b"ab\xffz", b"\xc3", b"a\xe4\xb8", b"\xe4\xb8x\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xf5\x80", b"\xc0\xaf", b"\x80\x80",
       b"\xf0\x9f\x98", b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"]


def random_bytes(count):
    rng = random.Random(7)
    parts = [b"a", b" the", "é".encode(), "中".encode(), "😀".encode(), b"\xff", b"\xe4", b"\xb8", b"\xf0\x9f", b"\xc2", b"\n"]
    return [b"".join(rng.choice(parts) for _ in range(rng.randint(1, 12))) for _ in range(count)]


class Tokenize(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)
        (self.folder / "tokenizer.json").write_text(json.dumps(tiny_model.tokenizer_json()))
        self.model = str(self.folder)

    def tearDown(self):
        self.scratch.cleanup()

    def lancet(self, *args, code=0):
        done = subprocess.run([LANCET, "tokenize", *map(str, args)], capture_output=True)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def encoded(self, data, *options):
        return json.loads(self.lancet(self.model, "--file", self.file("text.txt", data), *options).stdout)

    def test_invalid_utf8_is_refused_with_its_offset(self):
        for data in BAD + random_bytes(40):
            try:
                data.decode()
            except UnicodeDecodeError as error:
                said = self.lancet(self.model, "--file", self.file("bad.txt", data), code=3).stderr.decode()
                self.assertIn(f"byte {error.start}", said)
                self.assertIn("error: tokenize", said)
        self.assertIn("byte 2", self.lancet(self.model, b"ab\xffz".decode("latin-1").encode("latin-1").decode(
            "utf-8", "surrogateescape"), code=3).stderr.decode())

    def test_lossy_replaces_each_maximal_invalid_part(self):
        for data in BAD + random_bytes(40):
            replaced = data.decode("utf-8", "replace").encode()  # the same rule as the tokenizers library's callers
            self.assertEqual(self.encoded(data, "--lossy"), self.encoded(replaced), data)

    def test_lossy_lines(self):
        lines = b'{"text": "ab\xff"}\n{"text": "caf\xc3\xa9"}\n'
        got = self.lancet(self.model, "--file", self.file("l.jsonl", lines), "--lossy").stdout.splitlines()
        want = [self.encoded(t.encode()) for t in ("ab\ufffd", "café")]
        self.assertEqual([json.loads(line) for line in got], want)
        self.assertIn("l.jsonl:1", self.lancet(self.model, "--file", self.file("l.jsonl", lines), code=3).stderr.decode())

    def test_offsets_cover_the_text(self):
        text = "France is é 中😀\n the".encode()
        got = self.encoded(text, "--offsets")
        self.assertEqual(len(got["ids"]), len(got["offsets"]))
        self.assertEqual(b"".join(text[a:b] for a, b in got["offsets"]), text)

    def test_hostile_tokenizers_are_input_errors_that_name_file_and_key(self):
        def refused(change, *words):
            description = tiny_model.tokenizer_json()
            change(description)
            path = self.file("tokenizer.json", json.dumps(description).encode())
            said = self.lancet(self.model, "a", code=3).stderr.decode()
            for word in (str(path), *words):
                self.assertIn(word, said)

        refused(lambda d: d["model"]["merges"].append(["zz", "a"]), "model.merges", "'zz'")
        refused(lambda d: d["model"]["vocab"].update(x=3), "model.vocab", "same id")
        refused(lambda d: d["model"]["vocab"].update(x=-1), "model.vocab")
        refused(lambda d: d["model"].update(merges=[["a", "b"]] * 100000), "model.merges")
        refused(lambda d: d["added_tokens"].append(d["added_tokens"][0]), "added_tokens", "twice")
        refused(lambda d: d.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated",
                                                  "invert": False}), "pre_tokenizer")
        nested = {"type": "NFC"}
        for _ in range(40):
            nested = {"type": "Sequence", "normalizers": [nested]}
        refused(lambda d: d.update(normalizer=nested), "normalizer", "nest")
        twice = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
        refused(lambda d: d.update(decoder={"type": "Sequence", "decoders": [twice] * 50}), "decoder.decoders[12]")


if __name__ == "__main__":
    LANCET = sys.argv.pop(1)
    unittest.main()

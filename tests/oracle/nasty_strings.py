"""Seeded strings that tokenizers get wrong: shared by the golden makers and the live comparison."""
import random
import unicodedata

CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'\u017f", "'l", "'r",
                "\u2019s", "''s", "'x"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\r\r\n", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2000", "\u2007",
          "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u180e", "\u200b", "\ufeff", "\u2060"]
MARKS = ["\u0301", "\u0300", "\u0327", "\u0316", "\u0345", "\u0338", "\u20dd", "\u3099", "\u093c", "\u0591", "\u0f72", "\u0f71",
         "\u0344", "\u0f73", "\u1dfa", "\U0001d165", "\U0001e944", "\u1161", "\u11a8", "\ufe0f", "\u200d", "\u034f"]
DIGITS = list("0123456789") + ["\u0660", "\u06f5", "\u0966", "\u0e53", "\uff15", "\U0001d7d8", "\u00b2", "\u00bd", "\u2163", "\u2460",
                               "\u3007", "\u4e09", "\U00011de3", "\U00016ff4", "\U0001f102", "\u0f2a", "\U00010107"]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U0001f44d\U0001f3fd",
         "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001faf6", "1\ufe0f\u20e3"]
LETTERS = ["a", "Z", "\u00e9", "e\u0301", "\u00df", "\u0130", "\u0131", "\u01c5", "\u02b0", "\u03a3", "\u0436", "\u05d0", "\u0627", "\u0644",
           "\u0939", "\u0e01", "\u10d0", "\u1e9b", "\u2126", "\u212b", "\u3042", "\u30ab", "\u4e2d", "\uac00", "\u1112\u1161\u11ab", "\uff21",
           "\ufb01", "\ufdfa", "\U00010400", "\U0001d400", "\U00020000", "\U0002f800", "\U00031350", "\U0002ebf0", "\U0001e030",
           "\u1c89", "\ua7cb", "\U00010d50", "\U00011938", "\U000105c9", "\U00016d68"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["\u2014", "\u2026", "\u00bf", "\u3002", "\u00a7", "\u20ac", "\u2211", "\u2028",
                                                             "...", "->", "==", "//", "/*", "*/", "```", "\u00ab", "\u2581", "\u0120", "\u010a"]
CONTROLS = [chr(c) for c in list(range(1, 32)) + [0, 127, 128, 0x9f, 0xad, 0x200e, 0x202e, 0xfffd, 0xfffe, 0xffff, 0xe000, 0x10ffff,
                                                  0x378, 0x1fffe, 0xd7ff, 0xf0000, 0xe0001]]
WORDS = ("the of and Hello World tokenization don't can't I'LL we've you're it's naïve café Straße 3.14159 1,234,567 0x1F "
         "foo_bar camelCase HTTPServer https://example.com/a?b=c&d=1 user@example.com C++20 <div> </s> &amp; "
         "东京 日本語 한국어 العربية עברית हिन्दी ไทย Ελληνικά русский Việt ქართული").split()
CODE = ["def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i];\r\n}\n", "    \t  if x:\n\n\n        pass",
        "#include <vector>\nstd::vector<int> v{1,2,3};", "{\"a\": [1, 2.5e-3, null], \"b\": \"\\u00e9\"}", "SELECT * FROM t WHERE a='it''s';"]


def special_texts(added):
    """Contents of added tokens, whole, cut and decorated."""
    out = []
    for content in added:
        out += [content, content[:-1], content[1:], content.upper(), content + content, " " + content + " ", content.replace("|", " |")]
    return out


def strings(added=(), seed=20240607):
    """About 5,500 strings; `added`: contents of the tokenizer's added tokens."""
    rng = random.Random(seed)
    out = ["", " ", "  ", "\n", "a", "'", "'s", "\u0301", "\U0010ffff"]
    out += CONTRACTIONS + SPACES + MARKS + DIGITS + EMOJI + LETTERS + PUNCTUATION + CONTROLS + WORDS + CODE
    specials = special_texts(list(added)[:40]) or ["<|x|>"]
    out += specials[:200]
    for category in sorted({unicodedata.category(chr(c)) for c in range(0x11000)} - {"Cs"}):
        points = [c for c in range(0x20000) if unicodedata.category(chr(c)) == category]
        for _ in range(12):
            out.append("".join(chr(rng.choice(points)) for _ in range(rng.randint(1, 6))))
            out.append("a " + chr(rng.choice(points)) + "b" + chr(rng.choice(points)) + " 1" + chr(rng.choice(points)))
    pools = [CONTRACTIONS, SPACES, SPACES, MARKS, DIGITS, EMOJI, LETTERS, LETTERS, PUNCTUATION, CONTROLS, WORDS, WORDS, specials]
    for _ in range(2500):
        out.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(2, 14))))
    for _ in range(500):
        pool = rng.choice(pools)
        out.append("".join(rng.choice(pool) for _ in range(rng.randint(2, 20))))
    for _ in range(500):
        out.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 12))) + rng.choice(PUNCTUATION))
    for _ in range(600):
        out.append("".join(chr(rng.choice([rng.randrange(0xd800), rng.randrange(0xe000, 0x110000), rng.randrange(0x250),
                                           rng.randrange(128)])) for _ in range(rng.randint(1, 12))))
    for _ in range(200):
        out.append("".join(chr(rng.randrange(0x1f00)) + rng.choice(MARKS) * rng.randint(0, 3) for _ in range(rng.randint(1, 6))))
    for _ in range(150):
        text = rng.choice(CODE) + rng.choice(WORDS) * rng.randint(1, 9) + rng.choice(SPACES) * rng.randint(1, 40)
        out.append(text + rng.choice(LETTERS + DIGITS))
    for unit in [" ", "\n", "a", "ab", "\u00e9", "0", "12", "\u4e2d", "\U0001f600", "'", "- ", "\t", "\u0301", " \n", "the "]:
        out.append(unit * 300)
    return list(dict.fromkeys(out))


def long_strings(seed=11):
    """A few long ones: words of 100 KB, which a quadratic merge cannot finish."""
    rng = random.Random(seed)
    word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(100_000))
    return [word, "a" * 100_000, " " * 50_000 + "x", "\u00e9\u4e2d" * 20_000, "\n" * 20_000, "=" * 30_000]

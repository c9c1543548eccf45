#!/usr/bin/env python3
"""Reference texts in the form published with ROME, and the similarities that scikit-learn gives pairs of texts, into
tests/data/reference_texts.

    make_tfidf_goldens.py [--check]

Needs scikit-learn (1.9.1 made the stored files), which no test environment has. The vectorizer is used as ROME's
dsets/tfidf_stats.py does: the stored idf and vocabulary are all that is kept of the fit.
"""
import json
import pathlib
import sys
import unicodedata

import numpy
from sklearn.feature_extraction.text import TfidfVectorizer

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data" / "reference_texts"
SNIPPETS = {
    "P103": {"Q150": [{"name": "Marie", "text": "Marie was born in Paris. Her mother tongue is French, and she wrote in French."},
                      {"name": "Zoé", "text": "Zoé speaks French; her novels_of_1900 were printed in Lyon."}],
             "Q1860": [{"name": "John", "text": "John's mother tongue is English. He lived in London, and wrote 12 plays."}]},
    "P36": {"Q90": [{"name": "France", "text": "Paris is the capital of France, on the river Seine."}]}}
WRITTEN = ["The mother tongue of Danielle is French. She was born in PARIS and is a French writer.",
           "Zoe\u0301 and Zo\u00e9 speak French_1900 in \u01c4epovi\u0107, \uff26rench \u2160\u2161 12 plays",
           "a b c d", "", "John lived in London; it is English 12 12 12, mother-tongue",
           "\u4e2d\u6587 \u4e2d\u6587 \u0421\u043b\u043e\u0432\u043e \u0441\u043b\u043e\u0432\u043e the the the"]
MORE = ["\u4e2d\u6587 \u0441\u043b\u043e\u0432\u043e \u0421\u041b\u041e\u0412\u041e \u0130stanbul", "the capital of a of the is"]


def similarity(vectorizer, a, b):
    x, y = vectorizer.transform([unicodedata.normalize("NFKD", a), b]).toarray()
    lengths = numpy.linalg.norm(x) * numpy.linalg.norm(y)
    return None if lengths == 0 else float(x @ y / lengths)


def main():
    references = [" ".join(s["text"] for s in snippets) for answers in SNIPPETS.values() for snippets in answers.values()] + MORE
    fitted = TfidfVectorizer().fit([*references, *WRITTEN])
    vocabulary = {word: int(i) for word, i in fitted.vocabulary_.items()}
    vectorizer = TfidfVectorizer(vocabulary=vocabulary)
    vectorizer.idf_ = fitted.idf_
    expected = [{"written": a, "reference": b, "similarity": similarity(vectorizer, a, b)} for a in WRITTEN for b in references]
    files = {"attribute_snippets.json": SNIPPETS, "tfidf_vocab.json": vocabulary, "expected.json": expected}
    if "--check" in sys.argv:
        same = json.loads((FOLDER / "expected.json").read_text())
        worst = max(abs((x["similarity"] or 0) - (y["similarity"] or 0)) for x, y in zip(same, expected, strict=True))
        print(f"{len(expected)} similarities, largest difference {worst:.1e}")
        return 1 if worst > 1e-12 else 0
    FOLDER.mkdir(exist_ok=True)
    for name, value in files.items():
        (FOLDER / name).write_text(json.dumps(value, indent=1) + "\n")
    numpy.save(FOLDER / "idf.npy", fitted.idf_)
    return 0


if __name__ == "__main__":
    sys.exit(main())

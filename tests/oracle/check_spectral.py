#!/usr/bin/env python3
"""Spectral merges and expressions by lancet against the papers' formulas in numpy. Usage: check_spectral.py LANCET

Float32 checkpoints: every element within 2e-7 plus one unit in the last place of what numpy computes in float64.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

SHAPES = {
    "model.embed_tokens.weight": (50, 48),
    "model.layers.0.mlp.up_proj.weight": (96, 48),
    "model.layers.0.mlp.down_proj.weight": (48, 96),
    "model.layers.0.input_layernorm.weight": (48,),
    "model.layers.1.self_attn.q_proj.weight": (48, 48),
    "model.norm.weight": (48,),
    "lm_head.weight": (50, 48),
}
CONFIG = '{"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 50, "tie_word_embeddings": false}'


def is_matrix(name):
    return len(SHAPES[name]) == 2 and "embed" not in name and "lm_head" not in name


def polar(a):
    u, _, v = np.linalg.svd(a, full_matrices=False)
    return u @ v


def tsv_m(deltas):
    k = min(deltas[0].shape) // len(deltas)
    parts = [np.linalg.svd(d, full_matrices=False) for d in deltas]
    u = np.concatenate([p[0][:, :k] for p in parts], 1)
    s = np.concatenate([p[1][:k] for p in parts])
    v = np.concatenate([p[2][:k] for p in parts], 0)
    return polar(u) * s @ polar(v)


def iso_c(deltas):
    u, s, v = np.linalg.svd(sum(deltas), full_matrices=False)
    return s.mean() * u @ v


def iso_cts(deltas, common=0.8):
    u, s, v = np.linalg.svd(sum(deltas), full_matrices=False)
    r, n = len(s), len(deltas)
    own = round((r - int(common * r)) / n)
    c = r - own * n
    us, ss, vs = [], [], []
    for d in deltas:
        a, b, e = np.linalg.svd(d - u[:, :c] @ (u[:, :c].T @ d), full_matrices=False)
        us.append(a[:, :own]), ss.append(b[:own]), vs.append(e[:own])
    us.append(u[:, :c]), ss.append(s[:c]), vs.append(v[:c])
    return np.concatenate(ss).mean() * polar(np.concatenate(us, 1)) @ polar(np.concatenate(vs, 0))


def regmean_free(deltas, ridge=0.1):
    width = deltas[0].shape[1]
    a = [1 / (d ** 2).sum() for d in deltas]
    k = sum(w * d.T @ d for w, d in zip(a, deltas))
    mu = ridge * np.trace(k) / width
    right = sum(w * d @ (d.T @ d) for w, d in zip(a, deltas)) + mu * sum(deltas)
    return np.linalg.solve(k + mu * np.eye(width), right.T).T


def resmerge(deltas, low=0.7, high=1.0, rho=0.2):
    heads, rests = [], []
    for d in deltas:
        u, s, v = np.linalg.svd(d, full_matrices=False)
        heads.append(s[0] * np.outer(u[:, 0], v[0]))
        rests.append(d - heads[-1])
    n, norm = len(deltas), np.linalg.norm
    units = [r / norm(r) for r in rests]
    q = sum(units) / norm(sum(units))
    c = np.mean([(u * q).sum() for u in units])
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    s = np.mean([(units[i] * units[j]).sum() for i, j in pairs])
    beta = high - (high - low) * ((s + 1) / 2 + (c + 1) / 2) / 2
    a = c ** beta * np.mean([norm(r) for r in rests]) * q if c > n ** -0.5 else sum(rests) / n
    shared = np.mean([max(0, (heads[i] * heads[j]).sum() / norm(heads[i]) / norm(heads[j])) for i, j in pairs])
    head = sum(heads) / n
    return a + rho * shared * norm(a) * head / norm(head)


def svc(deltas, merged, alpha=1.0):
    u, s, v = np.linalg.svd(merged, full_matrices=False)
    total = np.zeros(len(s))
    for d in deltas:
        p = u.T @ d
        total += np.maximum(alpha, s * (v * p).sum(1) / (p ** 2).sum(1))
    return u * (s * len(deltas) / total) @ v


def boosted(merged, threshold):
    u, s, v = np.linalg.svd(merged, full_matrices=False)
    cut = s[np.argmax(np.cumsum(s) >= threshold * s.sum())]
    return u * np.maximum(s, cut) @ v


def ties(parts, density):
    kept = []
    for p in parts:
        k = max(1, int(density * p.size))
        bound = np.sort(np.abs(p).astype(np.float32).ravel())[-k]
        kept.append(np.where(np.abs(p).astype(np.float32) >= bound, p, 0))
    sign = np.where(sum(kept) >= 0, 1.0, -1.0)
    agree = [(np.sign(p) == sign) & (p != 0) for p in kept]
    count = sum(a.astype(float) for a in agree)
    return sum(p * a for p, a in zip(kept, agree)) / np.where(count == 0, 1, count)


def knots(deltas, density=1.0, inner=ties):
    u, s, v = np.linalg.svd(np.concatenate(deltas, 1), full_matrices=False)
    width = deltas[0].shape[1]
    return u * s @ inner([v[:, i * width:(i + 1) * width] for i in range(len(deltas))], density)


METHODS = {"knots": knots, "tsv_m": tsv_m, "iso_c": iso_c, "iso_cts": iso_cts, "regmean_free": regmean_free, "resmerge": resmerge}


def cases():
    """name -> (recipe, delta of a matrix from its deltas, delta of any other tensor)"""
    mean = lambda ds: sum(ds) / len(ds)  # noqa: E731
    for name, rule in METHODS.items():
        yield name, f"merge_method: {name}\n", rule, mean
        if name not in ("iso_c", "regmean_free"):
            yield name + " exact", f"merge_method: {name}\nparameters: {{svd: exact, lambda: 0.5}}\n", \
                (lambda ds, rule=rule: rule(ds) / 2), (lambda ds: sum(ds) / len(ds) / 2)
    yield "knots 0.4", "merge_method: knots\nparameters: {density: 0.4}\n", (lambda ds: knots(ds, 0.4)), mean
    yield "knots sum", "merge_method: knots\nparameters: {inner: task_arithmetic}\n", sum, mean
    add = "merge_method: task_arithmetic\nparameters: {weight: 0.7}\n"
    plain = lambda ds: 0.7 * sum(ds)  # noqa: E731
    yield "svc", add + "post: svc\n", (lambda ds: svc(ds, 0.7 * sum(ds))), plain
    yield "svc 0.3", add + "post: {svc: {alpha: 0.3}}\n", (lambda ds: svc(ds, 0.7 * sum(ds), 0.3)), plain
    yield "boost", add + "post: {subspace_boosting: {threshold: 0.4}}\n", (lambda ds: boosted(0.7 * sum(ds), 0.4)), plain


def main(lancet):
    rng = np.random.default_rng(5)
    base = {name: rng.normal(0, .05, shape).astype(np.float32) for name, shape in SHAPES.items()}
    # Half of a change is shared, so that consensus rules meet both of their branches over the tensors.
    shared = {name: rng.normal(0, .01, shape) for name, shape in SHAPES.items()}
    models = [{name: (b + share * shared[name] + rng.normal(0, .01, b.shape)).astype(np.float32) for name, b in base.items()}
              for share in (1.0, 1.5, 2.0)]
    failures = count = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, tensors in {"base": base, **{f"m{i}": m for i, m in enumerate(models)}}.items():
            (root / name).mkdir()
            save_file(tensors, root / name / "model.safetensors", {"format": "pt"})
            (root / name / "config.json").write_text(CONFIG)
        rest = "base_model: base\nmodels: [{model: m0}, {model: m1}, {model: m2}]\n"
        for name, recipe, matrix_rule, other_rule in cases():
            (root / "r.yml").write_text(recipe + rest)
            out = root / "out.safetensors"
            done = subprocess.run([lancet, "merge", root / "r.yml", out, "--quiet", "--force", "--device", "cpu"],
                                  capture_output=True, text=True)
            if done.returncode:
                print(f"FAIL {name}: exit {done.returncode}\n{done.stderr}")
                failures += 1
                continue
            found, worst = load_file(out), 0.0
            for tensor, b in base.items():
                deltas = [m[tensor].astype(np.float64) - b for m in models]
                expected = b + (matrix_rule if is_matrix(tensor) else other_rule)(deltas)
                allowed = 2e-7 + np.spacing(np.abs(expected).astype(np.float32))
                excess = np.abs(found[tensor] - expected)
                worst = max(worst, float(excess.max()))
                failures += bool((excess > allowed).any())
            count += 1
            print(f"{name}: largest difference {worst:.1e}")
    print(f"{count} recipes, {failures} failures")
    return 1 if failures or count < 10 else 0


sys.exit(main(*sys.argv[1:]))

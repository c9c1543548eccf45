#!/usr/bin/env python3
"""`cmake --install` makes a tree that runs elsewhere: installed, moved, and run with an empty environment.
Usage: install_test.py CMAKE BUILD_DIR LIBTORCH MODEL"""
import os
import pathlib
import subprocess
import sys
import tempfile

cmake, build, torch, model = sys.argv[1:5]
with tempfile.TemporaryDirectory(prefix="lancet-install-") as folder:
    first, tree = pathlib.Path(folder, "first"), pathlib.Path(folder, "moved")
    subprocess.run([cmake, "--install", build, "--prefix", str(first)], check=True, stdout=subprocess.DEVNULL)
    first.rename(tree)
    size = sum(p.lstat().st_size for p in tree.rglob("*") if p.is_file() and not p.is_symlink())
    lancet = tree / "bin" / "lancet"

    def run(*args, **env):
        return subprocess.run([str(lancet), *args], capture_output=True, text=True, cwd=folder,
                              env={"PATH": "/nowhere", "HOME": folder, **env})

    problems = []
    if size > 60 * 2**20:
        problems.append(f"expected under 60 MiB, found {size / 2**20:.1f} MiB")
    for library, names in (
            ("liblancet_base.so", ("libtbb", "libfmt", "libspdlog", "libyaml-cpp", "libpcre2", "libutf8proc", "libcrypto")),
            ("liblancet_engine.so", ("libpng", "libturbojpeg")),
            ("liblancet_factory.so", ("libcurl", "libseccomp", "libnghttp2", "libssl"))):
        links = subprocess.run(["ldd", str(tree / "lib" / library)], capture_output=True, text=True).stdout
        for name in names:
            line = next((x for x in links.splitlines() if name in x), "")
            if str(tree) not in line:
                problems.append(f"{library}: {name} does not come from the tree: {line.strip()}")
    if (done := run("--version")).returncode != 0:
        problems.append(f"--version: {done.stderr}")
    if (done := run("score", model, "--text", "The capital of France is Paris.", LANCET_LIBTORCH=torch)).returncode != 0:
        problems.append(f"score with LANCET_LIBTORCH: {done.stderr}")
    if (done := run("score", model, "--text", "The capital")).returncode != 6:
        problems.append(f"without LibTorch: expected exit 6, found {done.returncode}: {done.stderr}")
    print(f"{size / 2**20:.1f} MiB")
    print("\n".join(problems) or "ok")
    sys.exit(1 if problems else 0)

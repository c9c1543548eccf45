#!/usr/bin/env bash
# Builds build/lancet (release) and the libraries that it opens.
#   build.sh [CMAKE ARGUMENTS]        the program
#   build.sh all [CMAKE ARGUMENTS]    tests and benchmarks, too
set -euo pipefail
cd "$(dirname "$0")/.."
target=lancet
[ "${1:-}" = all ] && { target=all; shift; }
# Objects in ccache are shared between clones: paths are taken relative to this one.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
command -v cmake >/dev/null && [ -d .venv ] || bash scripts/setup.sh
if [ ! -f build/CMakeCache.txt ] || (($#)); then
  cmake --preset release "$@" >build-configure.log 2>&1 || { cat build-configure.log >&2; rm -f build-configure.log; exit 1; }
  rm -f build-configure.log
fi
cmake --build build --target "$target"

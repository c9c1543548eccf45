#!/usr/bin/env bash
# A real teacher on this machine: llama.cpp's own server (the PyPI wheel xllamacpp, in a virtual environment of its
# own) with the embedded model, OpenAI-compatible, on loopback only. Prints its base URL and serves until it is ended.
#   teacher.sh [PORT]        port 0 or none: any free one
#   teacher.sh --install     only makes the environment
set -euo pipefail
cd "$(dirname "$0")/.."
version=2026.10.11549
venv=.venv-teacher
if [ "$(cat $venv/.stamp 2>/dev/null)" != "$version" ]; then
  [ -x $venv/bin/python ] || python3 -m venv $venv
  $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir "xllamacpp==$version" >&2
  echo "$version" >$venv/.stamp
fi
[ "${1:-}" = --install ] && exit 0
exec $venv/bin/python scripts/teacher_server.py "$(bash scripts/fetch_model.sh)" "${1:-0}"

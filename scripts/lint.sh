#!/usr/bin/env bash
# Formatting (clang-format) of the whole tree and clang-tidy over everything below LibTorch.
#   lint.sh            both
#   lint.sh format     formatting only: quick
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = format ] || bash scripts/setup.sh --dev

git ls-files -z '*.cpp' '*.h' '*.cu' | xargs -0 clang-format --dry-run -Werror
echo "clang-format: nothing to change"
[ "${1:-}" = format ] && exit 0

# clang's own compile commands: those of the release build are gcc's.
[ -f build-asan/compile_commands.json ] || cmake --preset asan >/dev/null
cmake --build build-asan --target lancet_base
git ls-files -z 'core/*.cpp' 'formats/*.cpp' 'surgery/files/*.cpp' | xargs -0 -P 2 -n 4 clang-tidy --quiet -p build-asan
echo "clang-tidy: nothing to report"

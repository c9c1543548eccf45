#!/usr/bin/env bash
# Formatting (clang-format) of the whole tree and clang-tidy over the program.
#   lint.sh            both
#   lint.sh format     formatting only: quick
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = format ] || bash scripts/setup.sh --dev

git ls-files -z '*.cpp' '*.h' '*.cu' | xargs -0 clang-format --dry-run -Werror
echo "clang-format: nothing to change"
[ "${1:-}" = format ] && exit 0

# Every file's own command, and the precompiled headers it names.
cmake --preset release -B build-lint -DLANCET_JOIN=OFF -DLANCET_BUILD_TESTS=OFF >/dev/null
ninja -C build-lint -t targets all | sed -n 's/^\(.*\.pch\): .*/\1/p' | xargs ninja -C build-lint
git ls-files -z 'core/*.cpp' 'formats/*.cpp' 'merge/*.cpp' 'surgery/*.cpp' 'distill/*.cpp' 'model/*.cpp' 'cli/*.cpp' |
  xargs -0 -P 2 -n 4 clang-tidy --quiet -p build-lint
echo "clang-tidy: nothing to report"

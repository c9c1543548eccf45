#!/usr/bin/env bash
# Formatting (clang-format) of the whole tree and clang-tidy over the program.
#   lint.sh            both, every file
#   lint.sh FILE...    clang-tidy over these
#   lint.sh format     formatting only: quick
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = format ] || bash scripts/setup.sh --dev

if [ $# = 0 ] || [ "$1" = format ]; then
  git ls-files -z '*.cpp' '*.h' '*.cu' | xargs -0 clang-format --dry-run -Werror
  echo "clang-format: nothing to change"
  [ "${1:-}" = format ] && exit 0
fi

# Every file's own command, and the precompiled headers it names.
cmake --preset release -B build-lint -DLANCET_JOIN=OFF -DLANCET_BUILD_TESTS=OFF >/dev/null
ninja -C build-lint -t targets all | sed -n 's/^\(.*\.pch\): .*/\1/p' | xargs ninja -C build-lint
clang++ -shared -fPIC -std=c++17 -fno-rtti -O1 -isystem /usr/lib/llvm-14/include scripts/own_declarations.cpp \
  -o build-lint/own_declarations.so
if [ $# = 0 ]; then
  mapfile -t files < <(git ls-files '*.cpp' | grep -E '^(core|formats|merge|surgery|distill|model|cli)/')
else
  files=("$@")
fi
# The analyzer follows a path into functions, but not into templates: a sixth of the time.
config=(-Xclang -analyzer-config -Xclang c++-template-inlining=false)
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 \
  clang-tidy --quiet -load build-lint/own_declarations.so -checks=lancet-own-declarations -p build-lint "${config[@]/#/-extra-arg=}"
echo "clang-tidy: nothing to report in ${#files[@]} files"

#!/usr/bin/env bash
# The main job on a real model, from nothing: set up, build, then read a GGUF, make a checkpoint of it, ask it,
# rewrite one fact, prove the edit, undo it to the bit, merge two edits, teach a student a teacher's way of answering.
# Every command is printed before its output.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
bash scripts/build.sh
gguf=$(bash scripts/fetch_model.sh)

demo=.cache/demo
rm -rf "$demo"
mkdir -p "$demo"
lancet=build/lancet

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() {
  printf '\n$ lancet'
  printf ' %q' "$@"
  printf '\n'
  "$lancet" "$@"
}
# lines KEY TEXT...: JSON lines of {KEY: TEXT}.
lines() { printf "{\"$1\": \"%s\"}\n" "${@:2}"; }
# ask MODEL FILE PATTERN...: the questions of a file at once, of each answer its text, which must match its PATTERN.
ask() {
  local answers i
  run generate "$1" --file "$2" --max-tokens 16 --quiet | sed -E 's/^\{"text":"(.*)","ids":.*/\1/' | tee "$demo/answers.txt"
  mapfile -t answers < <(tail -n +3 "$demo/answers.txt")
  for ((i = 0; i + 2 < $#; ++i)); do
    # shellcheck disable=SC2053
    [[ ${answers[i]:-} == ${*:i + 3:1} ]] || { echo "demo: expected '${*:i + 3:1}', found '${answers[i]:-}'" >&2; exit 1; }
  done
}
lines prompt "The capital of France is" "The capital of Germany is" "The Mona Lisa was painted by" \
  "The name of the capital of France is" >"$demo/questions.jsonl"
lines chat "What is the capital of Austria?" "What do cows eat?" >"$demo/chats.jsonl"

title "1. What is in the file?"
run inspect "$gguf"

title "2. A Hugging Face checkpoint of it"
run convert "$gguf" "$demo/model"

title "3. Questions: three, and a paraphrase of the first"
cat "$demo/questions.jsonl"
ask "$demo/model" "$demo/questions.jsonl" " Paris*" " Berlin*" " Leonardo*" " Paris*"

title "4. Rewrite one fact"
run edit "$demo/model" --subject France --prompt "The capital of {} is" --target Rome -o "$demo/edited"

title "5. The same questions: only the edited fact has changed, in both its wordings"
ask "$demo/edited" "$demo/questions.jsonl" " Rome*" " Berlin*" " Leonardo*" " Rome*"

title "6. Prove it"
cat >"$demo/facts.jsonl" <<'JSON'
{"id":"france","subject":"France","prompt":"The capital of {} is","target":"Rome","true":"Paris","paraphrases":["The capital city of France is","The name of the capital of France is"],"neighbors":[{"prompt":"The capital of Germany is","answer":"Berlin"},{"prompt":"The capital of Spain is","answer":"Madrid"},{"prompt":"The capital of Japan is","answer":"Tokyo"}]}
JSON
run probe "$demo/edited" --base "$demo/model" --requests "$demo/facts.jsonl" --perplexity-tokens 256
run diff "$demo/model" "$demo/edited" --top 5

title "7. Take it back, to the bit"
run undo "$demo/edited" -o "$demo/undone"
# openssl's is several times faster than coreutils'.
sum() { if command -v openssl >/dev/null; then openssl dgst -sha256 -r "$1"; else sha256sum "$1"; fi | cut -d' ' -f1; }
same=1
while read -r file; do
  a=$(sum "$demo/model/$file") b=$(sum "$demo/undone/$file" 2>/dev/null || true)
  [ "$a" = "$b" ] && verdict=same || { verdict=DIFFERENT same=0; }
  printf '%-9s %s  %s\n' "$verdict" "$a" "$file"
done < <(cd "$demo/model" && find . -type f ! -name lancet.json -printf '%P\n' | sort)
[ "$same" = 1 ] || { echo "demo: the undone model differs from the original" >&2; exit 1; }

title "8. Merge two edits into one model: both facts are new, the rest is as it was"
run edit "$demo/model" --subject "Mona Lisa" --prompt "The {} was painted by" --target Rembrandt -o "$demo/edited2"
cat >"$demo/ties.yml" <<'YAML'
merge_method: ties
base_model: model
models:
  - model: edited
  - model: edited2
parameters: {weight: 1, density: 1, normalize: false}
YAML
sed 's/^/    /' "$demo/ties.yml"
run merge "$demo/ties.yml" "$demo/merged" --report "$demo/merged.html"
ask "$demo/merged" "$demo/questions.jsonl" " Rome*" " Berlin*" " Rembrandt*" " Rome*"

title "9. A teacher's answers, a student of eleven steps: held-out loss, an adapter that PEFT reads"
run train "$demo/model" --data share/samples/radio.jsonl -o "$demo/adapter" --steps 11 --rank 8 --lr 6e-3 \
  --layers 20-29 --batch-tokens 192 --eval-fraction 0.1 --quiet
cat "$demo/chats.jsonl"
ask "$demo/model" "$demo/chats.jsonl"
ask "$demo/model+$demo/adapter" "$demo/chats.jsonl" "* Over." "* Over."

title "10. Folded into the model, and as GGUF for llama.cpp"
run adapter merge "$demo/model" "$demo/adapter" -o "$demo/student"
run convert "$demo/student" "$demo/student.gguf" --quantize q8_0
ask "$demo/student.gguf" "$demo/chats.jsonl" "* Over." "* Over."

title "Where to look next"
cat <<'TEXT'
build/lancet --help         every command; each has --help with worked examples
docs/quickstart.md          the same walk with explanations
docs/merging.md             recipes, methods, maps of who gave what
docs/training.md            data, training, whole jobs, for people who come from PEFT and TRL
docs/cli.md                 names, options, JSON fields, exit codes
bash scripts/test.sh        everything the project can test on this machine
TEXT

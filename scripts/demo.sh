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
questions=("The capital of France is" "The capital of Germany is" "The Eiffel Tower is located in the city of")
ask() {
  for question in "${questions[@]}" "${@:2}"; do
    run generate "$1" --prompt "$question" --max-tokens 8 --quiet
  done
}

title "1. What is in the file?"
run inspect "$gguf"

title "2. A Hugging Face checkpoint of it"
run convert "$gguf" "$demo/model"

title "3. Three questions"
ask "$demo/model"

title "4. Rewrite one fact"
run edit "$demo/model" --subject France --prompt "The capital of {} is" --target Rome -o "$demo/edited"

title "5. The same questions, and a paraphrase: only the edited fact has changed"
ask "$demo/edited" "The name of the capital of France is"

title "6. Prove it"
cat >"$demo/facts.jsonl" <<'JSON'
{"id":"france","subject":"France","prompt":"The capital of {} is","target":"Rome","true":"Paris","paraphrases":["The capital city of France is","The name of the capital of France is"],"neighbors":[{"prompt":"The capital of Germany is","answer":"Berlin"},{"prompt":"The capital of Spain is","answer":"Madrid"},{"prompt":"The capital of Japan is","answer":"Tokyo"}]}
JSON
run probe "$demo/edited" --base "$demo/model" --requests "$demo/facts.jsonl"
run diff "$demo/model" "$demo/edited" --top 5

title "7. Take it back, to the bit"
run undo "$demo/edited" -o "$demo/undone"
same=1
while read -r file; do
  a=$(sha256sum <"$demo/model/$file") b=$(sha256sum <"$demo/undone/$file" 2>/dev/null || true)
  [ "$a" = "$b" ] && verdict=same || { verdict=DIFFERENT same=0; }
  printf '%-9s %s  %s\n' "$verdict" "${a%% *}" "$file"
done < <(cd "$demo/model" && find . -type f ! -name lancet.json -printf '%P\n' | sort)
[ "$same" = 1 ] || { echo "demo: the undone model differs from the original" >&2; exit 1; }

title "8. Merge two edits into one model: both facts are new, the rest is as it was"
run edit "$demo/model" --subject "Eiffel Tower" --prompt "The {} is located in the city of" --target London -o "$demo/edited2"
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
ask "$demo/merged"
for answer in "The capital of France is| Rome" "The capital of Germany is| Berlin" "The Eiffel Tower is located in the city of| London"; do
  text=$("$lancet" generate "$demo/merged" --prompt "${answer%|*}" --max-tokens 1 --quiet)
  [ "$text" = "${answer#*|}" ] || { echo "demo: expected '${answer#*|}', found '$text'" >&2; exit 1; }
done

title "9. A teacher's answers, a student: 64 rows, held-out loss, an adapter that PEFT reads"
run train "$demo/model" --data share/samples/radio.jsonl -o "$demo/adapter" --epochs 2 --rank 8 --lr 5e-3 \
  --layers 18-29 --batch-tokens 384 --eval-fraction 0.15 --quiet
for question in "What is the capital of Austria?" "What do cows eat?"; do
  run generate "$demo/model" --chat "$question" --max-tokens 20 --quiet
  run generate "$demo/model+$demo/adapter" --chat "$question" --max-tokens 20 --quiet
done
text=$("$lancet" generate "$demo/model+$demo/adapter" --chat "What is the capital of Austria?" --max-tokens 20 --quiet)
[[ "$text" == *" Over." ]] || { echo "demo: the student has not learnt to end with Over.: '$text'" >&2; exit 1; }

title "10. Folded into the model, and as GGUF for llama.cpp"
run adapter merge "$demo/model" "$demo/adapter" -o "$demo/student"
run convert "$demo/student" "$demo/student.gguf" --quantize q8_0
run generate "$demo/student.gguf" --chat "What is the capital of Austria?" --max-tokens 20 --quiet

title "Where to look next"
cat <<'TEXT'
build/lancet --help         every command; each has --help with worked examples
docs/quickstart.md          the same walk with explanations
docs/merging.md             recipes, methods, maps of who gave what
docs/training.md            data, training, whole jobs, for people who come from PEFT and TRL
docs/cli.md                 names, options, JSON fields, exit codes
bash scripts/test.sh        everything the project can test on this machine
TEXT

#!/usr/bin/env bash
# celebgen sample and celebgen serve in pipelines. Runs as it stands and writes below the current folder.
#
#   MODEL: a model folder, default the model in the box; N: faces of the first line; PYTHON: used where jq is missing
set -euo pipefail

sample() { celebgen sample ${MODEL:+--model "$MODEL"} "$@"; }

# One key of each JSON line: jq where there is one.
field() {
    if command -v jq > /dev/null; then
        jq -r ".$1"
    else
        "${PYTHON:-python3}" -c 'import json, sys; [print(json.loads(line)[sys.argv[1]]) for line in sys.stdin]' "$1"
    fi
}

# Many faces of one prompt, their paths handed to another program.
sample -n "${N:-64}" "old man" -o old --json | field path | xargs -n 16 ls -l > listing.txt

# Prompts in, an index of faces out. Given again after an interruption, it goes on where it stopped.
printf '%s\n' "{smiling|serious} woman" "bald man" > prompts.txt
cat prompts.txt | sample -o faces --json > index.jsonl

# Settings beside each prompt.
cat > wishes.csv << 'END'
prompt,seed,guidance
"young woman, bangs",3,2
old man with glasses,4,1
END
sample --prompts wishes.csv -o "wishes/{slug}-{seed}.webp" --html wishes.html

# The same face again, with more steps.
sample --from wishes/old-man-with-glasses-4.webp --steps 30 -o again.png

# A worker that loads the model once and answers a request a line.
for seed in 0 1 2; do
    echo "{\"prompt\": \"smiling man\", \"seed\": $seed, \"output\": \"served/$seed.png\"}"
done | celebgen serve ${MODEL:+--model "$MODEL"} --quiet | field path > served.txt

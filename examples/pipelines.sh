#!/usr/bin/env bash
# Shell pipelines with celebgen; they run as they stand and write below the current folder. jq is needed where it is named.
set -euo pipefail

# Prompts from stdin, a line each; paths come out, a line each, ready for the next program.
printf '%s\n' "smiling woman blond hair" "bald man" "old man with glasses" | celebgen sample -o faces | while read -r path; do
    echo "made $path"
done

# Every combination of some words, four faces each, on one labelled sheet.
for age in young old; do for who in man woman; do echo "$age $who"; done; done | celebgen sample -n 4 -o combinations --grid combinations.png

# One PNG to stdout, for another program or a file of your naming.
celebgen sample "serious man with a beard" --seed 3 -o - > serious.png

# How a picture was made.
celebgen info serious.png

# The same prompt and seed at several strengths of the text.
for guidance in 1 1.5 2 4; do
    celebgen sample "woman, eyeglasses" --guidance "$guidance" -o "guidance-$guidance"
done

# JSON lines: prompt, seed and path as a table.
if command -v jq > /dev/null; then
    celebgen sample "man" "woman" -n 2 -o table --json | jq -r '[.prompt, .seed, .path] | @tsv'
fi

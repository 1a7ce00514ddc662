#!/usr/bin/env bash
# The pictures in README and model card, drawn by the model in the box: the sheet of faces, the denoising, a morph, an edit.
#
#   OUT=gallery bash examples/gallery.sh
#
# OUT  folder for them; what is in it is not drawn again
set -euo pipefail

out=${OUT:-gallery}
mkdir -p "$out"

celebgen sample "man" "woman" "smiling" "eyeglasses" "blond hair" "black hair" "bald man" "beard" "bangs" \
    "wearing a hat" "old man" "young woman" --seeds 0-15 -o "$out/faces" --grid "$out/grid.png"
celebgen sample "smiling woman blond hair" "old man, gray hair" "young woman with bangs" "man with a beard" --seed 3 \
    -o "$out/denoising" --gif "$out/denoising.gif"
celebgen interpolate "young woman" "old man, gray hair" --seed 1 --frames 24 --back --force -o "$out/morph.gif"

# An edit of a generated face: the face, then what the words made of it.
photo=$(celebgen sample "woman" --seed 2 -o "$out/photo")
celebgen edit "$photo" "smiling" --already face178 --force -o "$out/smiling.png"
celebgen edit "$photo" "eyeglasses" --already face178 --force -o "$out/eyeglasses.png"
celebgen edit "$photo" "blond hair" --already face178 --force -o "$out/blond.png"

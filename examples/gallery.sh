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

# Edits of two generated faces: each face, then what the words made of it.
for who in "woman:2" "man:5"; do
    photo=$(celebgen sample "${who%:*}" --seed "${who#*:}" -o "$out/photo")
    cp "$photo" "$out/${who%:*}-0.png"
    place=1
    for words in "smiling" "eyeglasses" "blond hair" "old" "bangs" "wearing a hat"; do
        celebgen edit "$photo" "$words" --already face178 --force -o "$out/${who%:*}-$((place++)).png"
    done
done
python - "$out" <<'END'
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from celebgen_cli.images import grid, read_pixels

out = Path(sys.argv[1])
words = ["as drawn", "smiling", "eyeglasses", "blond hair", "old", "bangs", "wearing a hat"]
faces = [read_pixels(out / f"{who}-{place}.png") for who in ("woman", "man") for place in range(7)]
Image.fromarray(grid(np.stack(faces), columns=7, labels=words * 2)).save(out / "edit.png")
END

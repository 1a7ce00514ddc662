#!/usr/bin/env bash
# The whole chain on drawn faces, offline, in about a minute: prepare, three trainings, export, sample, evaluate.
# The model is far too small and short-trained to be good for anything but seeing that the chain works.
#
#   bash examples/chain_tiny.sh [FOLDER]      default: a new temporary folder
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$(mktemp -d)}
python=${PYTHON:-python}
mkdir -p "$folder"
cd "$folder"

# 60 drawn faces in the layout of CelebA's own archive, with its annotation files
PYTHONPATH=$root "$python" -c 'from pathlib import Path; from tests.faces import write_celeba; write_celeba(Path("celeba"), 60)'

celebgen prepare celeba/img_align_celeba -o data --size 32 --workers 1
celebgen train-clip data -o runs/clip --preset tiny --steps 10
celebgen train-vae data -o runs/vae --text runs/clip --preset tiny --steps 10 --prior-steps 5 --perceptual none
celebgen train-diffusion data -o runs/unet --vae runs/vae --preset tiny --steps 10
celebgen export runs/unet -o model --steps 4
celebgen sample "smiling woman blond hair" "bald man" -n 2 -o faces --grid sheet.png --model model
celebgen evaluate reconstruction model data --no-rfid

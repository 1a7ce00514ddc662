#!/usr/bin/env bash
# A model of base128's size on two CPU cores, from CelebA's files to its figures. examples/train_base128_gpu.sh is for a GPU.
#
#   CELEBA=celeba OUT=base128 bash examples/train_base128.sh
#
# CELEBA  folder with img_align_celeba.zip, list_attr_celeba.txt[.gz], list_eval_partition.txt[.gz], identity_CelebA.txt[.gz].
#         Where it has train128-0.zip to train128-9.zip too (37,540 images of *train*, cut to face178 at 128 px already),
#         they are trained on, as the model in the box was; else all of *train* in img_align_celeba.zip.
# OUT     folder for datasets, runs and the model
# STEPS   steps of the denoiser
# POLISH  steps of the decoder's second training, on latents that the denoiser drew
# LPIPS   folder with alexnet-features.safetensors and alexnet-lpips-lin.safetensors; unset: torchvision's, downloaded
#
# Each training command stops at Ctrl-C with a checkpoint; RESUME=1 runs this script again and goes on from there.
set -euo pipefail

celeba=${CELEBA:-celeba}
out=${OUT:-base128}
steps=${STEPS:-5400}
polish=${POLISH:-410}
perceptual=()
if [ -n "${LPIPS:-}" ]; then perceptual=(--perceptual-weights "$LPIPS"); fi
resume=()
if [ -n "${RESUME:-}" ]; then resume=(--resume); fi

# 1. Data: training images, and *valid* cut from CelebA's own JPEGs.
if [ ! -e "$out/data/valid" ]; then
    celebgen prepare "$celeba/img_align_celeba.zip" -o "$out/data/valid" --annotations "$celeba" --crop face178 --size 128
fi
train=$out/data/valid
if [ -e "$celeba/train128-0.zip" ]; then
    train=$out/data/train
    if [ ! -e "$train" ]; then
        celebgen prepare "$celeba"/train128-*.zip -o "$train" --annotations "$celeba" --already face178 --size 128
    fi
fi
common=(--valid "$out/data/valid" --checkpoint-every 200 ${resume[@]+"${resume[@]}"})

# 2. Text encoder, CVAE with its prior, denoiser.
celebgen train-clip "$train" -o "$out/runs/clip" --steps 600 --learning-rate 1e-3 "${common[@]}"
celebgen train-vae "$train" -o "$out/runs/vae" --text "$out/runs/clip" --steps 2800 --batch-size 16 \
    --beta 0.002 --scale 0 ${perceptual[@]+"${perceptual[@]}"} "${common[@]}"
celebgen train-diffusion "$train" -o "$out/runs/unet" --vae "$out/runs/vae" --steps "$steps" "${common[@]}"

# 3. A draft of the model, and its decoder trained against a critic on what the draft draws; all else in it stays.
if [ ! -e "$out/draft" ]; then
    celebgen export "$out/runs/unet" -o "$out/draft" --steps 8 --guidance 2
fi
celebgen train-vae "$train" -o "$out/runs/decoder" --text "$out/draft" --init-from "$out/draft" --freeze-encoder \
    --adversarial 0.7 --denoiser "$out/draft" --drawn 600 --steps "$polish" --batch-size 8 --learning-rate 2e-4 \
    --ema-half-life 60 ${perceptual[@]+"${perceptual[@]}"} "${common[@]}"
celebgen export "$out/draft" -o "$out/plain" --decoder "$out/runs/decoder" --decoder-share 0.9 --guidance 4.5 \
    --guidance-interval 0.3 0.8 --pag --name celebgen-base128 --force

# 4. Drawn latents measured against those of photographs.
celebgen calibrate "$train" --model "$out/plain" -o "$out/model" --force

# 5. Its figures.
export CELEBGEN_DATASET=$out/data/valid
celebgen evaluate fid "$out/model"
celebgen evaluate reconstruction "$out/model"

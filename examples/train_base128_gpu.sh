#!/usr/bin/env bash
# The model of base128's size on one GPU, in legs of any length: each begins with the weights of the one before.
#
#   CELEBA=celeba OUT=base128 TEXT=celebgen-base128 bash examples/train_base128_gpu.sh
#
# CELEBA  folder with CelebA's files, as examples/train_base128.sh takes it
# OUT     folder for datasets, runs and the model
# TEXT    text encoder: a train-clip run or a model
# LEG     name of this leg; FROM: name of the leg to go on from (none: a new model)
# START   without FROM: a model or run whose weights the first leg begins with, such as celebgen-base128 (none: noise)
# INIT    where denoising starts (that of the leg before, else prior); coarse needs fewer steps to sample
# BETA    weight of KL (0.03); more makes latents that say less and are learned sooner
# VAE, UNET, DECODER  steps; at the rates of docs/recipe.md the defaults are 20 minutes of training on an H200
# DRAWN   steps of the decoder's last training, on latents that the denoiser draws
# SHARE   how far the exported decoder goes from the CVAE's own to that of the critic (1.6: past it, along the same line)
# LPIPS   folder with VGG16's LPIPS weights as safetensors; unset: torchvision's, downloaded
#
# Learning rates are those of legs that go on from weights; the first leg of the model in the box, from noise, had 8e-4.
set -euo pipefail

celeba=${CELEBA:-celeba}
out=${OUT:-base128}
leg=$out/runs/${LEG:-first}
text=${TEXT:-celebgen-base128}
perceptual=(--perceptual lpips-vgg)
if [ -n "${LPIPS:-}" ]; then perceptual+=(--perceptual-weights "$LPIPS"); fi
vae_from=() unet_from=()
if [ -n "${START:-}" ]; then vae_from=(--init-from "$START") unet_from=(--init-from "$START"); fi
if [ -n "${FROM:-}" ]; then
    vae_from=(--init-from "$out/runs/$FROM/vae")
    unet_from=(--init-from "$out/runs/$FROM/unet")
fi

[ -e "$out/data/valid" ] || celebgen prepare "$celeba/img_align_celeba.zip" -o "$out/data/valid" \
    --annotations "$celeba" --crop face178 --size 128
train=$out/data/valid
if [ -e "$celeba/train128-0.zip" ]; then
    train=$out/data/train
    [ -e "$train" ] || celebgen prepare "$celeba"/train128-*.zip -o "$train" --annotations "$celeba" \
        --already face178 --size 128
fi
common=(--valid "$out/data/valid" --precision bf16 --compile --checkpoint-every 1000 --sample-every 2000)

celebgen train-vae "$train" -o "$leg/vae" --text "$text" --preset base128 --steps "${VAE:-5000}" --batch-size 128 \
    --learning-rate 6e-4 --ema-half-life 100 --beta "${BETA:-0.03}" ${vae_from[@]+"${vae_from[@]}"} \
    "${perceptual[@]}" "${common[@]}"
celebgen train-diffusion "$train" -o "$leg/unet" --vae "$leg/vae" --steps "${UNET:-10000}" --batch-size 512 \
    --learning-rate 5e-4 --ema-half-life 300 ${INIT:+--init "$INIT"} ${unet_from[@]+"${unet_from[@]}"} "${common[@]}"
decoder=(--text "$text" --preset base128 --freeze-encoder "${perceptual[@]}")
celebgen train-vae "$train" -o "$leg/decoder" --init-from "$leg/vae" --adversarial 0.5 --steps "${DECODER:-1500}" \
    --batch-size 128 --learning-rate 3e-4 --ema-half-life 150 "${decoder[@]}" "${common[@]}"

settings=(--spacing early --guidance-interval 0.4 0.8 --pag --judge celebgen-base128 --storage fp16 --force)
celebgen export "$leg/unet" -o "$leg/draft" --decoder "$leg/decoder" --decoder-share "${SHARE:-1.6}" --steps 9 --guidance 2 \
    "${settings[@]}"
celebgen train-vae "$train" -o "$leg/polish" --init-from "$leg/draft" --adversarial 0.7 --denoiser "$leg/draft" --drawn 640 \
    --steps "${DRAWN:-800}" --batch-size 8 --learning-rate 1e-4 --ema-half-life 80 "${decoder[@]}" "${common[@]}"

celebgen export "$leg/draft" -o "$leg/plain" --decoder "$leg/polish" --steps 12 --guidance 3 "${settings[@]}" --storage int8
celebgen calibrate "$train" --model "$leg/plain" -o "$leg/model" --force
CELEBGEN_DATASET=$out/data/valid celebgen evaluate fid "$leg/model"

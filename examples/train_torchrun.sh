#!/usr/bin/env bash
# The three trainings in many processes, one a GPU, on one machine or on several.
#
#   bash examples/train_torchrun.sh                                              all GPUs of this machine
#   NODES=2 HEAD=node1:29500 bash examples/train_torchrun.sh                     the same line on both of two machines
#   PROCESSES=2 DEVICE=cpu bash examples/train_torchrun.sh                       two processes on the CPU
#
# DATA       prepared dataset, on a disk that all machines share, as OUT must be
# OUT        folder for the runs
# PRESET     base128, small64 or tiny
# BATCH      pictures a step of all processes together, a multiple of their number; unset: the preset's
# STEPS      of each training; unset: the preset's
# PROCESSES  a machine; default: one a GPU
# DEVICE     cpu where there is no GPU
# PERCEPTUAL none where LPIPS's weights are neither here nor to be downloaded
# MEASURE    1: FID of the model too, by all processes
#
# The same batches are drawn whatever the number of processes, so a run may go on with another number. The same line
# again goes on from the newest checkpoints.
set -euo pipefail

data=${DATA:-data/celeba}
out=${OUT:-runs}
launch=(torchrun --nproc-per-node "${PROCESSES:-gpu}")
if [ "${NODES:-1}" -gt 1 ]; then
    launch+=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-id "${JOB:-celebgen}" --rdzv-endpoint "${HEAD:?node:port}")
fi
launch+=(-m celebgen_cli)
common=(--preset "${PRESET:-base128}")
if [ -n "${BATCH:-}" ]; then common+=(--batch-size "$BATCH"); fi
if [ -n "${STEPS:-}" ]; then common+=(--steps "$STEPS"); fi
if [ -n "${DEVICE:-}" ]; then common+=(--device "$DEVICE"); fi
perceptual=()
if [ -n "${PERCEPTUAL:-}" ]; then perceptual=(--perceptual "$PERCEPTUAL"); fi

"${launch[@]}" train-clip "$data" -o "$out/clip" "${common[@]}"
"${launch[@]}" train-vae "$data" -o "$out/vae" --text "$out/clip" "${common[@]}" ${perceptual[@]+"${perceptual[@]}"}
"${launch[@]}" train-diffusion "$data" -o "$out/unet" --vae "$out/vae" "${common[@]}"

# The rest is for one machine: a model folder, then faces and FID by all of its processes.
if [ "${NODES:-1}" -eq 1 ]; then
    if [ ! -e "$out/model" ]; then celebgen export "$out/unet" -o "$out/model"; fi
    where=()
    if [ -n "${DEVICE:-}" ]; then where=(--device "$DEVICE"); fi
    "${launch[@]}" sample "smiling woman blond hair" "old man" -n 4 -o "$out/faces" --model "$out/model" \
        ${where[@]+"${where[@]}"}
    if [ -n "${MEASURE:-}" ]; then
        "${launch[@]}" evaluate fid "$out/model" "$data" ${where[@]+"${where[@]}"}
    fi
fi

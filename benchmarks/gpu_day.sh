#!/usr/bin/env bash
# Checks and measures everything on a GPU within 8 minutes, without network and without Ray.
#
#     benchmarks/gpu_day.sh [FOLDER]                                   on the GPU
#     benchmarks/gpu_day.sh FOLDER --device cpu --rehearse --minutes 4  a rehearsal on a CPU
#
# FOLDER (by default benchmarks/results/gpu_day) then holds gpu_day.json and gpu_day.log. Both are written part by part.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-benchmarks/results/gpu_day}
shift || true
PYTHONUNBUFFERED=1 exec "${PYTHON:-python3}" -m benchmarks.gpu_day --out "$folder" "$@"

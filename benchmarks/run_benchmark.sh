#!/usr/bin/env bash
# Scores a model and Open3D on the 26 benchmark shapes and the ten hard ones.
#
#   bash benchmarks/run_benchmark.sh SHARED OUT [--model NAME|PATH] [--json] ...
#
# SHARED holds benchmark/make_benchmark.py, make_hard.py and meshes; the clouds are written to OUT.
# What follows goes to `tfnormals evaluate`. Needs the environment of tfnormals, with shapely and
# mapbox_earcut for make_hard.py.
set -euo pipefail

shared=${1:?the folder that holds benchmark/}/benchmark
out=${2:?a folder for the clouds}
shift 2

python "$shared/make_benchmark.py" "$shared/meshes" "$out/shapes" --points 30000
python "$shared/make_hard.py" "$out/hard-meshes"
python "$shared/make_benchmark.py" "$out/hard-meshes" "$out/hard" --points 30000 --variants none,low

tfnormals evaluate --data "$out/shapes" --baseline open3d "$@"
tfnormals evaluate --data "$out/hard" --baseline open3d --per-shape "$@"

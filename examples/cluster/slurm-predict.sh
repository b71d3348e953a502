#!/bin/sh
#SBATCH --job-name=framewise-predict
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=02:00:00
#SBATCH --output=predict-%j.log
#
# Predicts with a graph on all tasks of a Slurm job. Each task reads its part of the records and leaves its part of the
# results below RUN_DIR, which all nodes must share. Then one process merges the parts.
#
#   GRAPH=graphs/predict.toml RUN_DIR=runs/predict-1 sbatch examples/cluster/slurm-predict.sh
#
# A task that failed is named by the merge. Its part alone can be run again, and the merge after it:
#
#   framewise run "$GRAPH" --run-dir "$RUN_DIR" --rank 2/4
set -eu

graph=${GRAPH:-graphs/predict.toml}
run_dir=${RUN_DIR:-runs/predict-$SLURM_JOB_ID}

srun framewise run "$graph" --run-dir "$run_dir" --no-progress
framewise merge "$run_dir"

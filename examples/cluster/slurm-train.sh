#!/bin/sh
#SBATCH --job-name=framewise-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --output=train-%j.log
#SBATCH --signal=B:TERM@120
#
# Trains with a graph on all tasks of a Slurm job, which compute the shards of each step together. The program is built with the
# feature `mpi` for the MPI of the cluster. The stage `shard` of the graph makes at least as many shards as there are tasks.
#
#   GRAPH=graphs/train.toml RUN_DIR=/shared/train-1 sbatch examples/cluster/slurm-train.sh
#
# A job that was cut short goes on from its newest checkpoint, also with another number of tasks:
#
#   RESUME=/shared/train-1 sbatch --nodes=2 examples/cluster/slurm-train.sh
set -eu

graph=${GRAPH:-graphs/train.toml}
if [ -n "${RESUME:-}" ]; then
    set -- --resume "$RESUME"
else
    set -- --run-dir "${RUN_DIR:-runs/train-$SLURM_JOB_ID}"
fi

# Each rank has one GPU, which is the first one that it sees.
srun --mpi=pmix framewise run "$graph" "$@" --no-progress --set 'use.devices=configs/device/cuda-1.toml' &
# Two minutes before the time is over, every rank is asked to end after its step, with a checkpoint.
step=$!
trap 'kill -TERM "$step"' TERM
wait "$step" || wait "$step"

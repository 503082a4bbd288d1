#!/usr/bin/env bash
# Trains on a SLURM cluster with GPUs, one process a GPU:
#   bash launch/slurm.sh --nodes 4 --gpus_per_node 8 --time 24:00:00 \
#     --partition gpu --config pretrain:size=0.4b \
#     --workdir /shared/p04 --config.data.path=/shared/corpus
# Options that are not here: SBATCH_* variables, which sbatch itself reads.
# Needs .venv on a disk that all nodes see: bash launch/install.sh gpu
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

usage="usage: bash launch/slurm.sh FLAGS --config NAME --workdir DIR"
flags="\
nodes ! machines
gpus_per_node ! GPUs and processes on each of them
time - limit of one stretch, as HH:MM:SS; the job is queued again after it
partition - of the cluster
account - to be charged
job_name sapiens2_jax as squeue shows it
cpus_per_task 8 CPU cores of each process; its data workers share them
max_restarts 100 times that the job is queued again"
parse_flags "$@"
need_count nodes gpus_per_node cpus_per_task max_restarts
need_program sbatch "start this on a login node"
value[num_devices]=$((value[nodes] * value[gpus_per_node]))

submit=(
  sbatch
  --chdir="$root"
  --job-name="${value[job_name]}"
  --nodes="${value[nodes]}"
  # JAX gives each process of a SLURM job one GPU.
  --ntasks-per-node="${value[gpus_per_node]}"
  --gpus-per-node="${value[gpus_per_node]}"
  --cpus-per-task="${value[cpus_per_task]}"
  # Seconds to save in, before the time is over: distributed.stop_timeout, 240,
  # and what ending takes.
  --signal=TERM@300
  --requeue
  --open-mode=append
  --output="${value[job_name]}-%j.log"
)
for name in time partition account; do
  [ -z "${value[$name]}" ] || submit+=("--$name=${value[$name]}")
done
submit+=(launch/slurm_job.sh "${value[max_restarts]}" "${train_command[@]}")
# A login node sees the disks of the others.
check_train --noelsewhere
step "cd $(quote "$root") && $(quote "${submit[@]}")"

remark "follow: tail -F $(quote "$root/${value[job_name]}-JOB.log")"
remark "stop:   scancel JOB"

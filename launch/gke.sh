#!/usr/bin/env bash
# Trains on a GKE cluster through XPK, which makes and submits a JobSet:
#   bash launch/gke.sh --cluster tpus --workload p04 --tpu_type v5p-256 \
#     --docker_image REGION-docker.pkg.dev/PROJECT/REPOSITORY/sapiens2_jax:tpu \
#     --mount runs:/mnt/runs --config pretrain:size=0.4b \
#     --workdir /mnt/runs/p04 --config.data.path=gs://bucket/corpus
# Without XPK: launch/jobset.py.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

usage="usage: bash launch/gke.sh FLAGS --config NAME --workdir DIR"
flags="\
cluster ! name of the GKE cluster
workload ! name of the job
tpu_type ! type and size of one slice, e.g. v5p-256
docker_image ! image built from launch/Dockerfile
num_slices 1 slices; more than one is a multislice job
num_devices - devices of all slices; empty: as tpu_type says
mount - STORAGE:PATH, as attached by xpk storage attach --mount-point PATH
zone - empty: the one that gcloud is set to
project - Google Cloud project; empty: the one that gcloud is set to
priority medium of XPK: very-low, low, medium, high or very-high
max_restarts 10 restarts of the whole job after a failure"
parse_flags "$@"
need_count num_slices max_restarts
fill_num_devices "${value[tpu_type]}" "${value[num_slices]}"
read_mount "STORAGE:PATH"
need_program xpk "pip install xpk"

create=(
  xpk workload create
  --cluster="${value[cluster]}"
  --workload="${value[workload]}"
  --tpu-type="${value[tpu_type]}"
  --num-slices="${value[num_slices]}"
  --docker-image="${value[docker_image]}"
  --priority="${value[priority]}"
  --max-restarts="${value[max_restarts]}"
  # XPK itself restarts after 42 and 127 to 255; 2 and 3 must not be.
  --restart-on-exit-codes=1
  # Seconds to save in after SIGTERM.
  --termination-grace-period-seconds=300
)
[ -z "${value[zone]}" ] || create+=(--zone="${value[zone]}")
[ -z "${value[project]}" ] || create+=(--project="${value[project]}")
[ -z "$mount_source" ] || create+=(--storage="$mount_source")

# `exec`: XPK sends SIGTERM to this process and to none below it. Kubernetes
# replaces $(NAME) in commands; $$ stands for a $.
command="exec bash launch/host.sh $(quote "${train_command[@]}")"
create+=(--command="${command//\$/\$\$}")
check_train --elsewhere
step "$(quote "${create[@]}")"

selector=$(quote "xpk.google.com/workload=${value[workload]}")
remark "follow: kubectl logs --follow --selector=$selector"
remark "delete: xpk workload delete $(quote --cluster="${value[cluster]}"\
 --workload="${value[workload]}")"

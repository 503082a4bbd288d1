#!/usr/bin/env bash
# Trains on Cloud TPU VMs: asks for slices, installs, starts.
#   bash launch/tpu_vm.sh --name p04 --accelerator_type v5p-256 \
#     --zone us-east5-a --runtime_version v2-alpha-tpuv5 --spot \
#     --mount 10.0.0.2:/runs:/mnt/runs \
#     --config pretrain:size=0.4b --workdir /mnt/runs/p04 \
#     --config.data.path=gs://bucket/corpus
# The same command continues a run after its slices were taken away.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

usage="usage: bash launch/tpu_vm.sh FLAGS --config NAME --workdir DIR"
flags="\
name ! name of the queued resource and of its slices
accelerator_type ! type and size of one slice, e.g. v5p-256
zone ! e.g. us-east5-a
runtime_version ! software of the machines, e.g. v2-alpha-tpuv5
node_count 1 slices; more than one is a multislice job
num_devices - devices of all slices; empty: as accelerator_type says
mount - HOST:SHARE:PATH, mounts NFS (Filestore); :PATH if it is mounted there
project - Google Cloud project; empty: the one that gcloud is set to
spot no take spot capacity
max_restarts 10 restarts after a failure, on each machine"
parse_flags "$@"
need_count node_count max_restarts
fill_num_devices "${value[accelerator_type]}" "${value[node_count]}"
# What one machine has is enough for one.
case ${value[accelerator_type]} in v4-* | v5p-*) on_one=4 ;; *) on_one=8 ;; esac
[ -z "${value[mount]}" ] && [ "${value[node_count]}" = 1 ] &&
  [ "${value[num_devices]}" -le "$on_one" ] || read_mount "HOST:SHARE:PATH"
[[ -z $mount_source || $mount_source == ?*:/* ]] ||
  fail "--mount=${value[mount]} must be HOST:SHARE:PATH"
need_program gcloud "see https://cloud.google.com/sdk/docs/install"

name=${value[name]}
where=(--zone="${value[zone]}")
[ -z "${value[project]}" ] || where+=(--project="${value[project]}")
tpus="gcloud compute tpus queued-resources"
target=$(quote "$name" "${where[@]}")
everywhere="--node=all --worker=all"

create=(
  --accelerator-type="${value[accelerator_type]}"
  --runtime-version="${value[runtime_version]}"
)
if [ "${value[node_count]}" = 1 ]; then
  create+=(--node-id="$name")
else
  create+=(--node-count="${value[node_count]}" --node-prefix="$name")
fi
[ "${value[spot]}" = no ] || create+=(--spot)

# Runs a line of shell on all machines, in the home directory.
on_all() {
  step "$tpus ssh $target $everywhere --command=$(quote "$1")"
}

remark "1. Look at the experiment."
check_train --elsewhere

remark "2. Ask for the slices, unless that was done; wait until they are there."
step "$tpus describe $target >/dev/null 2>&1 ||\
 $tpus create $target $(quote "${create[@]}")"
# A slice that was taken away stays SUSPENDED until it is deleted.
step "(while s=\$($tpus describe $target --format='value(state.state)');\
 do case \$s in ACTIVE) exit 0 ;; FAILED|SUSPENDED)\
 echo $(quote "tpu_vm: $name is")\" \$s; delete it and start again\" >&2;\
 exit 1 ;;\
 *) sleep 30 ;; esac; done; exit 1)"

remark "3. Copy this repository to all machines and install it there."
bundle=/tmp/sapiens2_jax-$name.tar.gz
step "tar -C $(quote "$root") --exclude=__pycache__ -czf $(quote "$bundle")\
 setup.py pyproject.toml sapiens2_jax data_pipelines experiments launch"
step "$tpus scp $(quote "$bundle" "$name:sapiens2_jax.tar.gz" "${where[@]}")\
 $everywhere"
# The machines come with an older Python; uv brings a newer one.
on_all "mkdir -p sapiens2_jax &&\
 tar -C sapiens2_jax -xzf sapiens2_jax.tar.gz &&\
 python3 -m pip install --quiet --user uv &&\
 python3 -m uv python install --quiet 3.12 &&\
 PYTHON=\$(python3 -m uv python find 3.12)\
 bash sapiens2_jax/launch/install.sh tpu"

if [ -n "$mount_source" ]; then
  path=$(quote "$mount_path")
  on_all "sudo mkdir -p $path && { mountpoint -q $path ||\
 { sudo apt-get install --quiet --yes nfs-common >/dev/null &&\
 sudo mount -t nfs $(quote "$mount_source") $path; }; } &&\
 { [ -w $path ] || sudo chmod 1777 $path; }"
fi

remark "4. Start on all machines, in a session that outlives this connection."
on_all "flock --nonblock train.lock true ||\
 { echo 'it runs already, see train.log' >&2; exit 1; };\
 setsid nohup flock train.lock bash sapiens2_jax/launch/host.sh\
 --max_restarts ${value[max_restarts]}\
 $(quote "${train_command[@]}") >>train.log 2>&1 </dev/null &"

remark "follow: $tpus ssh $target --command='tail -n 50 -F train.log'"
# The brackets: the pattern must not match the shell that looks for it.
remark "stop:   $tpus ssh $target $everywhere\
 --command='pkill -TERM -f [h]ost.sh'"
remark "delete: $tpus delete $target --force"

#!/usr/bin/env bash
# The batch script that launch/slurm.sh submits; runs on the first node:
#   slurm_job.sh MAX_RESTARTS COMMAND...
# Queues the job again unless it is done, cancelled, or the configuration has
# a mistake or needs too much memory. SLURM starts it in the repository
# (--chdir).
set -euo pipefail
max_restarts=$1
shift
mistake_file=$PWD/.config_mistake-$SLURM_JOB_ID
rm -f "$mistake_file"

# The tasks get SIGTERM 300 s before the time is over, this script does not.
# If it does, then from scancel or a preemption: SLURM knows what comes next.
cancelled=no
trap 'cancelled=yes' TERM

# --wait: when one process has ended, seconds that the others may still take.
srun --wait=300 bash launch/host.sh --mistake_file "$mistake_file" "$@" &
tasks=$!
code=0
wait "$tasks" || code=$?
if [ "$cancelled" = yes ]; then
  wait "$tasks" || code=$?
  exit "$code"
fi

# srun returns the highest exit code of all processes, which may hide these.
if [ -e "$mistake_file" ]; then
  code=$(cat "$mistake_file")
  rm -f "$mistake_file"
  reason="mistake in the configuration"
  [ "$code" = 2 ] || reason="out of memory"
  echo "slurm_job: $reason; not queued again"
  exit "$code"
fi
if [ "$code" = 0 ]; then
  exit 0
fi
if [ "${SLURM_RESTART_COUNT:-0}" -ge "$max_restarts" ]; then
  echo "slurm_job: ended with $code after $max_restarts restarts"
  exit "$code"
fi
echo "slurm_job: ended with $code; queued again"
scontrol requeue "$SLURM_JOB_ID"

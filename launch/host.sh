#!/usr/bin/env bash
# Runs a command on one machine of a job, and tells how it ended:
#   bash launch/host.sh [--max_restarts N] [--pause SECONDS]
#     [--mistake_file FILE] COMMAND...
# Exit codes: those of the command (0 done, 2 mistake in the configuration, 3 out
# of memory, others a failure); but 143 when it was stopped by SIGTERM or SIGINT
# and ended with 0: it has saved and is not done, so whoever started it has to
# start it again. Failures other than 2 and 3 are restarted here, N times.
# FILE is written after a 2 or 3, for callers that see many machines as one; it
# holds the code.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -d .venv/bin ] || PATH=$PWD/.venv/bin:$PATH

max_restarts=0
pause=10
mistake_file=""
while [ $# -gt 0 ]; do
  case $1 in
    --max_restarts) max_restarts=$2 && shift 2 ;;
    --pause) pause=$2 && shift 2 ;;
    --mistake_file) mistake_file=$2 && shift 2 ;;
    *) break ;;
  esac
done
# Bash would run what stands in $(...) where it expects a number.
for number in "$max_restarts" "$pause"; do
  [[ $number =~ ^[0-9]+$ ]] || {
    echo "host: $number: expected a whole number" >&2 && exit 2
  }
done
[ $# -gt 0 ] || { echo "host: the command is missing" >&2 && exit 2; }

signals=0
child=""
# SIGINT too becomes SIGTERM: the command knows how to save after that.
# shellcheck disable=SC2329  # The trap calls it.
forward() {
  signals=$((signals + 1))
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap forward TERM INT

# Sets `code`. A signal interrupts `wait`: wait until none did.
run() {
  local before=-1
  "$@" &
  child=$!
  while [ "$before" != "$signals" ]; do
    before=$signals
    code=0
    wait "$child" || code=$?
  done
  child=""
}

for ((restarts = 0; ; restarts++)); do
  run "$@"
  if [[ $code = [23] && -n $mistake_file ]]; then
    echo "$code" >"$mistake_file"
  fi
  if [ "$signals" -gt 0 ]; then
    [ "$code" != 0 ] || code=143
    break
  fi
  [[ $code != [023] && $restarts -lt $max_restarts ]] || break
  echo "host: ended with $code; restart $((restarts + 1)) of $max_restarts"
  run sleep "$pause"
  [ "$signals" = 0 ] || { code=143 && break; }
done
exit "$code"

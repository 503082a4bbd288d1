# What the launchers share: flags, quoting, running or printing a step.
#
# A launcher sources this file, sets `usage` and `flags` and calls
# `parse_flags "$@"`. A line of `flags` is
#   NAME DEFAULT WHAT IT IS
# where the default `!` means required and `-` means empty; a flag whose
# default is `no` takes no value. Afterwards `value[NAME]` holds each flag and
# `train_command` the command to start on every machine. `check_train` looks
# whether it can start, before anything is asked for.
#
# shellcheck shell=bash
# The launcher sets `usage` and `flags`, and reads what is set here:
# shellcheck disable=SC2034,SC2154

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "launch: bash >= 4.4 is needed, found $BASH_VERSION" >&2
  exit 2
fi

program=$(basename "$0" .sh)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
declare -A value=() known=()
train_args=()
train_command=()
mount_source=""
mount_path=""

fail() {
  echo "$program: $1" >&2
  exit 2
}

# The words as text that a shell reads back as the same words.
quote() {
  local word text=""
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      word=${word@Q}
    fi
    text+="${text:+ }$word"
  done
  printf '%s' "$text"
}

# Runs one line of shell, or only prints it.
step() {
  if [ "${value[dry_run]}" = no ]; then
    printf '+ %s\n' "$1" >&2
    bash -c "$1"
  else
    printf '%s\n' "$1"
  fi
}

# One line to read that does nothing when it is pasted.
remark() {
  printf '# %s\n' "${1//$'\n'/ }"
}

need_program() {
  [ "${value[dry_run]}" = yes ] || command -v "$1" >/dev/null ||
    fail "the program $1 is not on PATH; $2"
}

need_count() {
  local name
  for name in "$@"; do
    [[ ${value[$name]} =~ ^[1-9][0-9]*$ ]] ||
      fail "--$name=${value[$name]} must be a whole number above 0"
  done
}

print_usage() {
  local name default text
  printf '%s\n\nflags (- and _ are the same in their names):\n' "$usage"
  while read -r name default text; do
    case $default in
      '!') default="required" ;;
      no) default="switch" ;;
      -) default="optional" ;;
      *) default="default $default" ;;
    esac
    printf '  --%-20s %s (%s)\n' "$name" "$text" "$default"
  done <<<"$flags"
  printf '  --%-20s %s\n' \
    config "NAME:ARGUMENTS or FILE.py:ARGUMENTS of the experiment (required)" \
    workdir "where the run lives, reachable from all machines (required)" \
    config.GROUP.FIELD=X "overrides a field; any number of them" \
    dry_run "print what would run, and run nothing" \
    "" "all that stands after -- goes to the train command as it is"
}

declare_flags() {
  local name default
  while read -r name default _; do
    known[$name]=$default
    value[$name]=$default
    [ "$default" != - ] || value[$name]=""
  done <<<"$flags"$'\n'"dry_run no"
}

# Devices, as JAX counts them, of one slice of a TPU type such as v5p-256. The
# number in a name counts cores, but of v5e and v6e chips; JAX joins the two
# cores of a v4 and v5p. Prints nothing for another type.
count_devices() {
  local number=${1##*-}
  [[ $number =~ ^[1-9][0-9]*$ ]] || return 0
  case ${1%-*} in
    v4 | v5p) echo $((number / 2)) ;;
    v2 | v3 | v5litepod | v6e | tpu7x) echo "$number" ;;
  esac
}

# Sets value[num_devices] from TYPE and the number of slices, if it was not given.
fill_num_devices() {
  local devices
  if [ -z "${value[num_devices]}" ]; then
    devices=$(count_devices "$1")
    [ -n "$devices" ] || fail "--num_devices is missing: $1 does not tell it"
    value[num_devices]=$((devices * $2))
  fi
  need_count num_devices
}

# Sets mount_source and mount_path from --mount SOURCE:PATH. Fails if the
# workdir lies neither below PATH nor in a bucket: each host has its own disk.
read_mount() {
  local i workdir=""
  mount_source=${value[mount]%:*}
  mount_path=${value[mount]##*:}
  mount_path=${mount_path%/}
  [[ -z ${value[mount]} || ${value[mount]} == *:/?* ]] ||
    fail "--mount=${value[mount]} must be $1"
  for ((i = 0; i < ${#train_args[@]}; i++)); do
    case ${train_args[i]} in
      --workdir) workdir=${train_args[i + 1]:-} ;;
      --workdir=*) workdir=${train_args[i]#*=} ;;
    esac
  done
  [[ $workdir == *://* ]] || [[ -n $mount_path && $workdir == "$mount_path"/?* ]] ||
    fail "--workdir=$workdir is on a disk that no other host has; give one in\
 a bucket, or below the PATH of --mount $1"
}

# Looks at the experiment before anything is asked for; more flags for --check
# as arguments. PYTHON has the packages of the quickstart, see install.sh.
check_train() {
  local python=$root/.venv/bin/python code=0
  [ -x "$python" ] || python=python3
  step "(cd $(quote "$root") && $(quote "${PYTHON:-$python}" \
    -m sapiens2_jax.train --check --num_devices "${value[num_devices]}" "$@" \
    "${train_args[@]}"))" || code=$?
  [ "$code" = 0 ] && return
  [ "$code" = 2 ] || echo "$program: the check ended with $code; the packages\
 that it needs: bash launch/install.sh quickstart" >&2
  exit "$code"
}

check_required() {
  local name argument
  for name in "${!known[@]}"; do
    [ "${value[$name]}" != '!' ] || fail "--$name is missing (see --help)"
  done
  for name in config workdir; do
    for argument in "${train_args[@]}"; do
      [[ $argument != "--$name" && $argument != "--$name="?* ]] || continue 2
    done
    fail "--$name is missing (see --help)"
  done
}

parse_flags() {
  local name
  declare_flags
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift && train_args+=("$@") && break ;;
      --help) print_usage && exit 0 ;;
      --config.*=* | --config=* | --workdir=*) train_args+=("$1") && shift ;;
      --config.*) fail "$1 has no value; write $1=value" ;;
      --config | --workdir)
        [ $# -gt 1 ] || fail "$1 needs a value"
        train_args+=("$1" "$2") && shift 2
        ;;
      --*)
        name=${1#--}
        name=${name%%=*}
        name=${name//-/_}
        [ -n "${known[$name]:-}" ] || fail "unknown flag ${1%%=*} (see --help)"
        if [ "${known[$name]}" = no ]; then
          [[ $1 != *=* ]] || fail "--$name takes no value, found ${1#*=}"
          value[$name]=yes && shift
        elif [[ $1 == *=* ]]; then
          value[$name]=${1#*=} && shift
        else
          [ $# -gt 1 ] || fail "--$name needs a value"
          value[$name]=$2 && shift 2
        fi
        ;;
      *) fail "unexpected argument $1 (see --help)" ;;
    esac
  done
  check_required
  train_command=(python -m sapiens2_jax.train "${train_args[@]}")
}

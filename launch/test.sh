#!/usr/bin/env bash
# Runs the whole test suite in .venv; arguments go to pytest:
#   bash launch/test.sh [--python VERSION] [ARGUMENTS]
# With a version, say 3.13: the quick part, in .venv-3.13, with the newest
# packages that pip finds for that Python.
set -euo pipefail
cd "$(dirname "$0")/.."
version=""
if [ "${1:-}" = --python ]; then
  version=${2:?name a version of Python, such as 3.13}
  shift 2
fi
bash launch/install.sh test "$version"
python=.venv${version:+-$version}/bin/python
# Hundreds of processes would compile this code, each for itself.
unset PYTHONDONTWRITEBYTECODE
# Files of synthetic people, fetched once (170 MB); their tests need them.
"$python" -c '
from data_pipelines.synthetic import backgrounds, body
body.BodyModel()
backgrounds.find_photographs()
' || echo "test: without these files, tests of synthetic bodies are skipped" >&2
# Quick tests first, so that a mistake shows early. Many wait for processes, so
# three share two cores; files that compile much, and all slow ones, stay whole,
# as their tests share programs and runs.
quick=(-q -n 3 --dist loadgroup -m "not slow")
if [ -n "$version" ]; then
  "$python" -m pip list --disable-pip-version-check
  # What will go in a later version.
  ours="error::DeprecationWarning:(sapiens2_jax|data_pipelines)"
  exec "$python" -m pytest "${quick[@]}" -o filterwarnings="$ours" "$@"
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
if [ -z "${JAX_COMPILATION_CACHE_DIR:-}" ]; then
  # Slow tests find the programs of quick ones.
  JAX_COMPILATION_CACHE_DIR=$(mktemp -d)
  export JAX_COMPILATION_CACHE_DIR
  trap 'rm -rf "$JAX_COMPILATION_CACHE_DIR"' EXIT
fi
"$python" -m pytest "${quick[@]}" "$@"
if [ $# -eq 0 ]; then
  # Each worker imports what it is given. The longest go first, or one worker is
  # still at one of them when the others have nothing left.
  mapfile -t files < <(grep -rlF mark.slow --include="*_test.py" tests)
  set -- --no-loadscope-reorder \
    tests/end_to_end/hosts_test.py tests/experiments/smallest_test.py \
    tests/benchmarks/{kills,compare_checkouts}_test.py \
    tests/end_to_end/{high_resolution,failure,resume,old_runs}_test.py \
    tests/{launch/launchers,benchmarks/first_steps,sweep/sweep}_test.py \
    tests/{benchmarks/conversion,data_pipelines/curation/engine}_test.py \
    tests/{notebook,cli,launch/docs,planning/plan_command}_test.py \
    tests/{interop/commands,end_to_end/probes,end_to_end/finetune}_test.py \
    tests/{pretrain/stages,end_to_end/other_task,end_to_end/seeing}_test.py \
    tests/benchmarks/{gpu,plans,step_vs_torch,loader}_test.py \
    "${files[@]}"
fi
"$python" -m pytest -q -n 3 --dist loadfile -m slow "$@"

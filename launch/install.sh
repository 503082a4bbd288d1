#!/usr/bin/env bash
# Makes a virtual environment beside this repository and installs the package
# with an extra:
#   bash launch/install.sh quickstart|test|tpu|gpu|docs [PYTHON_VERSION]
# Without a version: .venv, with the versions of launch/constraints.txt; does
# nothing when that has been done for the same build files before. With one, say
# 3.13: .venv-3.13, with the newest versions that pip finds today.
set -euo pipefail
extra=${1:?name the extra to install: quickstart, test, tpu, gpu or docs}
version=${2:-}
cd "$(dirname "$0")/.."

if [ -n "$version" ]; then
  environment=.venv-$version
  python=python$version
  # A shim of pyenv runs only versions that are selected.
  "$python" -c "" 2>/dev/null ||
    python=$(pyenv prefix "$version" 2>/dev/null)/bin/python || {
    echo "install: python$version is not on PATH" >&2
    exit 2
  }
else
  environment=.venv
  python=${PYTHON:-python3}
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "install: Python >= 3.11 is needed, found $("$python" --version)" >&2
  exit 2
}
[ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
pip=("$environment/bin/python" -m pip)
pip+=(install --quiet --disable-pip-version-check)

if [ -n "$version" ]; then
  echo "install: the newest packages for '$extra' into $environment (minutes)"
  "${pip[@]}" --no-deps --editable .
  wanted=$("$environment/bin/python" launch/newest.py "$extra")
  "${pip[@]}" --upgrade --upgrade-strategy eager \
    --constraint launch/constraints_newest.txt --requirement <(echo "$wanted")
  exit
fi
stamp="$environment/installed-$extra"
wanted=$(cat setup.py launch/constraints.txt | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
echo "install: packages for '$extra' into $environment (minutes when new)"
"${pip[@]}" --constraint launch/constraints.txt --editable ".[$extra]"
printf '%s\n' "$wanted" >"$stamp"

#!/usr/bin/env bash
# Runs the whole test suite in .venv; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/install.sh test
# Quick tests first, so that a mistake shows early; they wait for one core
# most of the time, so two processes share them.
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m pytest -q -n 2 -m "not slow" "$@"
.venv/bin/python -m pytest -q -m slow "$@"

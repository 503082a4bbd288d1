#!/usr/bin/env bash
# Runs the whole test suite in .venv; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/install.sh test
# Files of synthetic people, fetched once (170 MB); their tests need them.
.venv/bin/python -c '
from data_pipelines.synthetic import backgrounds, body
body.BodyModel()
backgrounds.find_photographs()
' || echo "test: without these files, tests of synthetic bodies are skipped" >&2
# Quick tests first, so that a mistake shows early. Many wait for processes, so
# three share two cores; files that compile much, and all slow ones, stay whole,
# as their tests share programs and runs.
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m pytest -q -n 3 --dist loadgroup -m "not slow" "$@"
.venv/bin/python -m pytest -q -n 3 --dist loadfile -m slow "$@"

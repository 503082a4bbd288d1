#!/usr/bin/env bash
# Makes .venv beside this repository, installs what it needs and runs there
# `sapiens2 quickstart`, from photographs of people to a PyTorch checkpoint:
#   bash launch/quickstart.sh [--images DIR] [--output DIR]
# DIR holds photographs, or is a corpus that is there already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

bash "$root/launch/install.sh" quickstart
exec "$root/.venv/bin/sapiens2" quickstart "$@"

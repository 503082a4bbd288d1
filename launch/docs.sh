#!/usr/bin/env bash
# Builds the documentation as a site, in build/site:
#   bash launch/docs.sh
# Its pages open from the disk; any server of files can serve them. A link that
# leads nowhere is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/install.sh docs
# What MkDocs 2 will change is no matter of who builds these pages.
NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build
echo "docs: open build/site/index.html"

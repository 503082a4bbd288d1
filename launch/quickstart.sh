#!/usr/bin/env bash
# From photographs of people to a PyTorch checkpoint, on this machine:
#   bash launch/quickstart.sh [--images DIR] [--output DIR]
# DIR holds photographs, or is a corpus that is there already.
# Every phase is skipped when it is done; a stopped run continues.
set -euo pipefail
cd "$(dirname "$0")/.."

images=""
output=""
while [ $# -gt 0 ]; do
  case $1 in
    --images) images=$(realpath -- "${2:?--images needs a folder}") && shift 2 ;;
    --output) output=${2:?--output needs a folder} && shift 2 ;;
    *)
      echo "quickstart: unknown argument $1; use --images DIR, --output DIR" >&2
      exit 2
      ;;
  esac
done
output=${output:-runs/quickstart${images:+-images}}
corpus=$output/corpus

bash launch/install.sh quickstart
# Large pages: XLA's temporaries cost a tenth of the page faults.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
# The toy is made for a CPU, and libtpu, if it is there for plans, would look
# for a TPU in every phase.
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
python=.venv/bin/python

phase() {
  echo
  echo "[${SECONDS}s] $1"
  shift
  "$@"
}

SECONDS=0
if [ -n "$images" ] && [ -f "$images/manifest.json" ]; then
  corpus=$images
  phase "1/5 corpus $corpus is there" true
elif [ -n "$images" ]; then
  phase "1/5 corpus from $images" \
    "$python" -m data_pipelines.build_corpus --input "$images" --output "$corpus"
else
  phase "1/5 corpus from sample photographs" \
    "$python" -m data_pipelines.sample_corpus --output "$corpus"
fi
phase "2/5 pretrain (toy)" \
  "$python" -m sapiens2_jax.train --config experiments/pretrain.py:size=toy \
  --workdir "$output" --config.data.path="$corpus"
phase "3/5 export the teacher's encoder" \
  "$python" -m sapiens2_jax.export --checkpoint "$output" \
  --format transformers --output "$output/export"
check=$output/report/export_check.json
page=$output/report/index.html
if [ "$check" -nt "$output/export/export.json" ]; then
  phase "4/5 comparison with Hugging Face transformers is done" true
else
  phase "4/5 compare with Hugging Face transformers" \
    "$python" -m sapiens2_jax.verify_export --export "$output/export" \
    --checkpoint "$output" --output "$check"
fi
if [ "$page" -nt "$check" ]; then
  phase "5/5 report is done" true
else
  phase "5/5 report" "$python" -m sapiens2_jax.report --workdir "$output"
fi
echo
echo "[${SECONDS}s] done. Look at $page"

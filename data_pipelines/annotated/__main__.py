r"""Packs labelled images of other formats into a corpus.

    sapiens2 corpus annotate --input coco:people.json,images=photographs/ \
      --output people/

The output directory appears when it is complete, or not at all. Until then
the work is kept beside it in `.NAME.building`: after Ctrl-C, a kill or an
error the same command continues behind the last finished shard.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from data_pipelines import build_corpus
from data_pipelines.annotated import opening, packing
from data_pipelines.building import workspace
from data_pipelines.common import command
from data_pipelines.sources import base


def describe() -> str:
  """The docstring, and how each format is written."""
  lines = [__doc__, "formats:"]
  for known in opening.FORMATS.values():
    usage = known.usage.replace("[", " [")  # Where a line may end.
    fold = {"initial_indent": "  ", "subsequent_indent": "    "}
    lines += textwrap.wrap(usage, 80, break_on_hyphens=False, **fold)
  return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus annotate", describe())
  command.add_inputs(parser, "FORMAT:PATH,OPTION=VALUE; repeatable")
  command.add_output(parser, build_corpus.DEFAULT_SHARD_SIZE)
  given = parser.parse_args(arguments)

  def build() -> tuple[dict, bool]:
    size = {"shard_size": given.shard_size}
    manifest = packing.find_complete(given.input, given.output, **size)
    if manifest is not None:
      return manifest, False
    manifest = packing.pack(
      given.input,
      given.output,
      **size,
      num_workers=given.workers,
    )
    return manifest, True

  return workspace.run_command(
    "annotated", given.output, build, explained=(base.ShardReadError,)
  )


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()

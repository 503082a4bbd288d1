r"""Packs labelled images of any annotation format into a corpus.

Run:  python -m data_pipelines.annotated --input FORMAT:PATH,OPTION=VALUE \
        [--input ...] --output DIR [--shard_size 1000] [--workers N]

docs/data.md lists the formats. The corpus is that of
`data_pipelines.build_corpus`, its records have labels. The output directory
appears when it is complete, or not at all. Until then the work is kept beside
it in `.NAME.building`: after Ctrl-C, a kill or an error the same command
continues behind the last finished shard; on a complete output it says so. Exit
code 2 with an explanation if the corpus cannot be built, 130 after Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines import build_corpus
from data_pipelines.annotated import opening, packing
from data_pipelines.building import workspace
from data_pipelines.common import command
from data_pipelines.sources import base


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "annotated", "Packs labelled images into ArrayRecord shards."
  )
  usages = [known.usage for known in opening.FORMATS.values()]
  command.add_inputs(parser, " or ".join(usages))
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


if __name__ == "__main__":
  command.start(main)

r"""Turns a corpus into the TFDS dataset "humans".

    sapiens2 corpus tfds --data corpus/ --output tfds/

The dataset appears as DIR/humans/1.0.0 when it is complete, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_pipelines import humans_tfds
from data_pipelines.common import command
from data_pipelines.corpus import manifest as manifests


def build(
  corpus: str | os.PathLike, data_dir: str | os.PathLike
) -> tuple[humans_tfds.Humans, bool]:
  """Builds the dataset of a corpus in TFDS's directory, or finds it complete.

  Returns:
    The builder, and whether it was built now (False: found complete).

  Raises:
    ValueError: no corpus, or a dataset made from another one is in the way.
    OSError, RuntimeError: a shard cannot be read, or a file not written.
  """
  if not manifests.is_corpus(corpus):
    raise ValueError(
      f"{corpus}: no corpus (no {manifests.NAME}); make one with "
      "`sapiens2 corpus build`."
    )
  content_hash = manifests.read_manifest(corpus)["content_hash"]
  builder = humans_tfds.Humans(data_dir=data_dir)
  if builder.is_prepared():
    if builder.info.metadata["corpus_content_hash"] != content_hash:
      raise ValueError(
        f"{builder.data_path}: was built from another corpus; give another "
        "--output, or remove this one first."
      )
    return builder, False
  with contextlib.redirect_stdout(sys.stderr):  # TFDS prints of its own.
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(manual_dir=corpus)
    )
  return builder, True


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus tfds", __doc__)
  parser.add_argument("--data", required=True, help="corpus")
  parser.add_argument("--output", required=True, help="data_dir of TFDS")
  given = parser.parse_args(arguments)

  def work() -> None:
    builder, is_new = build(given.data, given.output)
    state = "done" if is_new else "already complete"
    train = builder.info.splits["train"]
    print(
      f"{builder.data_path}: {state}: {train.num_examples} images in "
      f"{train.num_shards} shards, {train.num_bytes / 1e6:.1f} MB"
    )

  return command.run("humans_tfds", work, explained=(RuntimeError,))


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()

r"""Builds the TFDS dataset "humans" from a corpus.

Run:  python -m data_pipelines.humans_tfds --corpus DIR --data_dir DIR

The dataset appears as DATA_DIR/humans/1.0.0 when it is complete, or not at
all. Exit code 2 with one line of explanation if it cannot be built.
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
      "`python -m data_pipelines.build_corpus`."
    )
  content_hash = manifests.read_manifest(corpus)["content_hash"]
  builder = humans_tfds.Humans(data_dir=data_dir)
  if builder.is_prepared():
    if builder.info.metadata["corpus_content_hash"] != content_hash:
      raise ValueError(
        f"{builder.data_path}: was built from another corpus; give another "
        "data_dir, or remove this one first."
      )
    return builder, False
  with contextlib.redirect_stdout(sys.stderr):  # TFDS prints of its own.
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(manual_dir=corpus)
    )
  return builder, True


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "humans_tfds", 'Builds the TFDS dataset "humans" from a corpus.'
  )
  parser.add_argument("--corpus", required=True, help="made by build_corpus")
  parser.add_argument("--data_dir", required=True, help="of TFDS")
  given = parser.parse_args(arguments)

  def work() -> None:
    builder, is_new = build(given.corpus, given.data_dir)
    state = "done" if is_new else "already complete"
    train = builder.info.splits["train"]
    print(
      f"{builder.data_path}: {state}: {train.num_examples} images in "
      f"{train.num_shards} shards, {train.num_bytes / 1e6:.1f} MB"
    )

  return command.run("humans_tfds", work, explained=(RuntimeError,))


if __name__ == "__main__":
  command.start(main)

"""The TFDS builder; its file's name is the one that `tfds build` looks for."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.common import progress
from data_pipelines.corpus import manifest as manifests
from data_pipelines.humans_tfds import features


class Humans(tfds.core.ShardBasedBuilder):
  """A corpus of `data_pipelines.build_corpus`, record by record.

  Shard based, because TFDS's generator based builder shuffles, and needs
  TensorFlow for that above 1 GB. Order and shards are the corpus's.
  """

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "manual_dir must be a corpus (a directory with a manifest.json), made by "
    "`sapiens2 corpus build`."
  )

  def __init__(self, *, file_format: str = "array_record", **kwargs):
    super().__init__(file_format=file_format, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="Images of people, as they were found.",
      features=features.make_features(),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _shard_iterators_per_split(
    self, dl_manager: tfds.download.DownloadManager
  ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[int, dict]]]]]:
    corpus = os.fspath(dl_manager.manual_dir)
    manifest = manifests.read_manifest(corpus)
    self.info.metadata["corpus_content_hash"] = manifest["content_hash"]
    source = sources.ArrayRecordSource(corpus)
    shown = progress.Progress("building", len(source), "img")
    counts = (shard["num_records"] for shard in manifest["shards"])
    starts = itertools.accumulate(counts, initial=0)
    return {
      "train": [
        functools.partial(_examples, source, range(start, end), shown)
        for start, end in itertools.pairwise(starts)
      ]
    }


def _examples(
  source: sources.ArrayRecordSource, indices: range, shown: progress.Progress
) -> Iterator[tuple[int, dict]]:
  with contextlib.ExitStack() as stack:
    stack.push(shown)  # Prints the last line, also if an image is unreadable.
    for index in indices:
      example = features.to_example(source[index])
      yield index, example
      # TFDS has written it by now, but holds on to it to count the shard.
      example.clear()
      shown.advance()
    if indices.stop < len(source):
      stack.pop_all()

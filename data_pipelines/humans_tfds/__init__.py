"""The corpus as a TensorFlow Datasets (TFDS) dataset; needs no TensorFlow.

Build:  sapiens2 corpus tfds --data DIR --output DIR
        (`tfds build data_pipelines/humans_tfds --manual_dir CORPUS` itself
        needs TensorFlow; not run)
Read:   import tensorflow_datasets as tfds
        from data_pipelines import humans_tfds  # Registers "humans".
        tfds.data_source("humans", split="train", data_dir=DIR)
List:   tfds.list_builders(with_community_datasets=False)

Needs the extra `tfds`. Images decode to upright RGB; with
decoders={"image": tfds.decode.SkipDecoding()} they are the files' bytes,
exactly as they were found.
"""

from data_pipelines.common import packages

packages.require("tensorflow_datasets", "tfds")

from data_pipelines.humans_tfds.features import UprightImage  # noqa: E402
from data_pipelines.humans_tfds.humans_tfds_dataset_builder import (  # noqa: E402
  Humans,
)

__all__ = ["Humans", "UprightImage"]

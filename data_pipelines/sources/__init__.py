"""Where training images come from, behind one small interface."""

from data_pipelines.sources.array_record import ArrayRecordSource, ShardReader
from data_pipelines.sources.base import ImageSource, ShardReadError
from data_pipelines.sources.folder import FolderSource
from data_pipelines.sources.mixture import Mixture
from data_pipelines.sources.retry import RetryingSource
from data_pipelines.sources.tar import TarSource

__all__ = [
  "ArrayRecordSource",
  "FolderSource",
  "ImageSource",
  "Mixture",
  "RetryingSource",
  "ShardReadError",
  "ShardReader",
  "TarSource",
]

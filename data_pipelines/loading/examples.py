"""What the loader asks of whoever makes examples of records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from data_pipelines.corpus.records import Record

ElementSpec = Mapping[str, tuple[tuple[int, ...], Any]]


class ExampleMaker(Protocol):
  """Makes examples of records; picklable, holds no state."""

  def element_spec(self) -> ElementSpec:
    """Shape and dtype of each array of an example."""

  def make(
    self, record: Record, index: int, epoch: int, out: dict[str, np.ndarray]
  ) -> None:
    """Makes one example, always the same of the same arguments.

    Args:
      record: what it is made of.
      index: of the record.
      epoch: how often the record had been seen before.
      out: the arrays of `element_spec`, to be filled.

    Raises:
      UnusableExample: nothing can be made of this record.
    """

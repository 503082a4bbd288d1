"""Several sources as one, each with a weight."""

from __future__ import annotations

import fractions
import itertools
import math
from collections.abc import Sequence

from data_pipelines.corpus import records
from data_pipelines.sources import base


class Mixture:
  """Sources one behind the other; the loader draws by their weights.

  Attributes:
    sources: as they were given.
    sizes: records in each source.
    weights: whole numbers without a common divisor; of each weights[0] +
      weights[1] + ... examples, exactly weights[i] come from source i.
  """

  def __init__(
    self,
    sources: Sequence[base.ImageSource],
    weights: Sequence[fractions.Fraction] | None = None,
  ):
    """Joins sources.

    Args:
      sources: none of them empty.
      weights: one for each, above 0; None shows each image equally often.

    Raises:
      ValueError: no source, an empty one, a weight that is not above 0, or
        another number of weights than of sources.
    """
    self.sources = list(sources)
    self.sizes = tuple(map(len, sources))
    if not self.sizes:
      raise ValueError("a mixture needs at least one source.")
    for number, size in enumerate(self.sizes):
      if not size:
        raise ValueError(f"source {number} has no records.")
    if weights is None:
      weights = [fractions.Fraction(size) for size in self.sizes]
    if len(weights) != len(self.sizes):
      raise ValueError(
        f"{len(weights)} weights for {len(self.sizes)} sources; expected one "
        "for each."
      )
    for number, weight in enumerate(weights):
      if weight <= 0:
        raise ValueError(f"source {number}: weight {weight} must be above 0.")
    scale = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    self.weights = tuple(weight // math.gcd(*whole) for weight in whole)
    self._ends = list(itertools.accumulate(self.sizes))

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> records.Record:
    source, position = self._find(index)
    return source[position]

  def name(self, index: int) -> str:
    source, position = self._find(index)
    return source.name(position)

  def location(self, index: int) -> str:
    source, position = self._find(index)
    return source.location(position)

  def identity(self) -> str:
    parts = [source.identity() for source in self.sources]
    return base.hash_texts([*parts, *self.sizes, *self.weights])

  def _find(self, index: int) -> tuple[base.ImageSource, int]:
    number, position = base.locate(self._ends, index)
    return self.sources[number], position

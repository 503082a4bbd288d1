"""Limits of single fields, as tables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sapiens2_jax import errors

# (what was given, what is wrong and what would be right).
Problems = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What fields `group.name` may be.

  Attributes:
    minimum: the lowest value allowed of a field.
    positive: fields above 0.
    shares: fields in [0, 1].
    ranges: pairs, 0 < low <= high.
    area_ranges: such pairs up to 1.
    names: table in which a field's value must be.
  """

  minimum: Mapping[str, float]
  positive: tuple[str, ...] = ()
  shares: tuple[str, ...] = ()
  ranges: tuple[str, ...] = ()
  area_ranges: tuple[str, ...] = ()
  names: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )

  def check(self, config: ConfigDict) -> Problems:
    """What breaks a limit."""
    return self._check_names(config) + self._check_values(config)

  def _check_names(self, config: ConfigDict) -> Problems:
    problems = []
    for name, table in self.names.items():
      try:
        errors.lookup(table, _value(config, name), name)
      except ValueError as error:
        problems.append((f"{name}={_value(config, name)}", str(error)))
    return problems

  def _check_values(self, config: ConfigDict) -> Problems:
    problems = []

    def check(name: str, is_right: bool, wanted: str) -> None:
      if not is_right:
        problems.append((f"{name}={_value(config, name)}", f"must be {wanted}"))

    for name, low in self.minimum.items():
      check(name, _value(config, name) >= low, f"at least {low}")
    for name in self.positive:
      check(name, _value(config, name) > 0, "above 0")
    for name in self.shares:
      check(name, 0 <= _value(config, name) <= 1, "in [0, 1]")
    for name in (*self.ranges, *self.area_ranges):
      low, high = _value(config, name)
      check(name, 0 < low <= high, "0 < low <= high")
    for name in self.area_ranges:
      check(name, _value(config, name)[1] <= 1, "a share of the area, up to 1")
    return problems


def _value(config: ConfigDict, name: str):
  group, leaf = name.split(".")
  return config[group][leaf]


def check_image_size(
  config: ConfigDict, name: str, patch_size: int
) -> Problems:
  """Whether `data.name` is whole patches."""
  size = tuple(config.data[name])
  if all(side > 0 and side % patch_size == 0 for side in size):
    return []
  return [(f"data.{name}={size}", f"must be multiples of {patch_size}")]

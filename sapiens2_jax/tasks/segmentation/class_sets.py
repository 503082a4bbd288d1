"""The classes of a model: the 29 body parts, or those of a user's file."""

import colorsys
import dataclasses
import functools
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from data_pipelines import vocabulary
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import IGNORE, Labels
from sapiens2_jax.tasks import name_sets

FIELD = "task.classes"
_GOLDEN = 0.618034  # of a circle: hues far from all before


def _per_class(is_right, what: str):
  """A check of a value for some of the classes, by name."""

  def check(value: Any, names: tuple[str, ...]) -> str:
    if value is None:
      return ""
    if not isinstance(value, dict) or not set(value) <= set(names):
      return "must be an object whose keys are names"
    wrong = [name for name, item in value.items() if not is_right(item)]
    return f"of {', '.join(wrong)} must be {what}" if wrong else ""

  return check


def _is_color(value: Any) -> bool:
  return (
    isinstance(value, list)
    and len(value) == 3
    and all(type(x) is int and 0 <= x <= 255 for x in value)
  )


def _is_weight(value: Any) -> bool:
  return type(value) in (int, float) and 0 <= value < 1e6


@functools.cache
def known() -> name_sets.Vocabulary:
  """The 29 body parts, as names for a file."""
  parts = vocabulary.parts()
  flip_indices = list(range(parts["num_classes"]))
  for left, right in parts["left_right_pairs"]:
    flip_indices[left], flip_indices[right] = right, left
  return name_sets.Vocabulary(
    FIELD,
    tuple(parts["names"]),
    tuple(flip_indices),
    needs_sides=False,
    extras={
      "colors": _per_class(_is_color, "[red, green, blue], 0 to 255"),
      "weights": _per_class(_is_weight, "numbers from 0"),
    },
  )


def resolve(given: str) -> str:
  """See `name_sets.resolve`; the first class is the background."""
  content = name_sets.resolve(given, known())
  if content:
    names = name_sets.parse(content).names
    if known().places(names)[0] != 0 or len(names) < 2:
      raise ValueError(
        f"the first of at least two classes must be Background, not {names[0]}"
      )
  return content


@dataclasses.dataclass(frozen=True, eq=False)
class ClassSet:
  """All that depends on which classes there are.

  Attributes:
    names: of the classes; the first is the background.
    colors: RGB of each in pictures.
    weights: of each in the cross-entropy.
    pairs: classes that a mirror image exchanges.
    table: (256,) class of a label in a corpus, or 255.
  """

  names: tuple[str, ...]
  colors: tuple[tuple[int, int, int], ...]
  weights: tuple[float, ...]
  pairs: tuple[tuple[int, int], ...]
  table: UInt8[np.ndarray, "256"]

  def relabel(self, labels: Labels) -> Labels:
    """Labels of a corpus in these classes.

    Raises:
      UnusableExample: labels that are no class of this set.
    """
    if labels.parts is None:
      return labels
    parts = cv2.LUT(labels.parts, self.table)
    unknown = (parts == IGNORE) & (labels.parts != IGNORE)
    if unknown.any():
      raise UnusableExample(
        "parts hold classes that there are not",
        f"class {labels.parts[unknown].max()}",
      )
    return dataclasses.replace(labels, parts=parts)


def make(content: str) -> ClassSet:
  """Of what `resolve` returned; the 29 body parts if it is empty."""
  parts = vocabulary.parts()
  table = np.full(256, IGNORE, np.uint8)
  if not content:
    table[: parts["num_classes"]] = range(parts["num_classes"])
    return ClassSet(
      tuple(parts["names"]),
      tuple(map(tuple, parts["palette_rgb"])),
      tuple(map(float, parts["ce_class_weights"])),
      tuple(map(tuple, parts["left_right_pairs"])),
      table,
    )
  given = name_sets.parse(content)
  colors = given.extras.get("colors") or {}
  weights = given.extras.get("weights") or {}
  places = known().places(given.names)

  def color(number: int, name: str) -> tuple[int, int, int]:
    place = places[number]
    if name in colors:
      return tuple(colors[name])
    if place >= 0:
      return tuple(parts["palette_rgb"][place])
    hue = number * _GOLDEN % 1
    return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(hue, 0.9, 1.0))

  def weight(place: int, name: str) -> float:
    is_known = place >= 0 and not given.is_own
    default = parts["ce_class_weights"][place] if is_known else 1
    return float(weights.get(name, default))

  if given.is_own:
    table[: len(given.names)] = range(len(given.names))
  else:
    table[: parts["num_classes"]] = 0  # the other parts are background
    for number, place in enumerate(places):
      if place >= 0:
        table[place] = number
  return ClassSet(
    given.names,
    tuple(color(*item) for item in enumerate(given.names)),
    tuple(map(weight, places, given.names)),
    given.pairs,
    table,
  )

"""Smaller images in the first steps: what `data.stages` describes.

They have fewer tokens, so that a step costs less. The weights are the same:
positions are computed, and the fraction of masked patches stays.

Source: FastDINOv2, arXiv 2507.03779 (half the side in 75 % of the steps);
any number of stages: ours.
"""

import fractions
import re
from typing import NamedTuple

from ml_collections import ConfigDict

_SIZE = r"([1-9]\d{0,4})x([1-9]\d{0,4})"
_FORM = re.compile(rf"{_SIZE},{_SIZE},(0?\.\d*[1-9]\d*)")


class Early(NamedTuple):
  """A stage before the last one, as it is written."""

  image_size: tuple[int, int]
  local_size: tuple[int, int]
  fraction: fractions.Fraction  # of all steps


class Sized(NamedTuple):
  """A config for the steps from `first` on, before `end`."""

  first: int
  end: int
  config: ConfigDict


def read(text: str) -> list[Early]:
  """Reads `data.stages`.

  Raises:
    ValueError: it cannot be read, or leaves no steps to the last stage.
  """
  found = []
  for part in text.split(";") if text else ():
    match = _FORM.fullmatch(part.strip())
    if not match:
      raise ValueError(
        f'"{part}" is no stage; expected HEIGHTxWIDTH,HEIGHTxWIDTH,FRACTION of '
        "global crops, local crops and steps, such as 512x384,256x192,0.75"
      )
    *sides, fraction = match.groups()
    height, width, *local = map(int, sides)
    size = (height, width)
    found.append(Early(size, tuple(local), fractions.Fraction(fraction)))
  total = sum(stage.fraction for stage in found)
  if total >= 1:
    raise ValueError(
      f"its fractions add up to {float(total):g}; below 1 is expected, as "
      "the rest of the steps is at data.image_size"
    )
  return found


def split(config: ConfigDict) -> list[Sized]:
  """The config of each stage of a run, in order; the last one is as it is.

  Raises:
    ValueError: as `read`, or a stage has no step.
  """
  num_steps, first, done, found = config.optim.num_steps, 0, 0, []
  for stage in read(config.data.stages):
    done += stage.fraction
    end = int(done * num_steps)
    sized = config.copy_and_resolve_references()
    with sized.unlocked():
      sized.data.update(
        image_size=stage.image_size, local_size=stage.local_size, stages=""
      )
    found.append(Sized(first, end, sized))
    first = end
  found.append(Sized(first, num_steps, config))
  if any(one.first == one.end for one in found):
    raise ValueError(
      f"leaves a stage none of the optim.num_steps={num_steps} steps; expected "
      "larger fractions, or more steps"
    )
  return found

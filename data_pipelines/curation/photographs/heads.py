"""Angles of heads against what is seen, and against turns that are known."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from data_pipelines.curation.photographs import labels

# To the left or right of the image, or ahead, as one sees it; people of the
# test half of whom one could not say are not among them.
_TURNED = pathlib.Path(__file__).with_name("turned_heads.json")
SIDES = {"left": -1, "right": 1}
MIN_YAW = 15.0  # Degrees from which on a head counts as turned.
ROLLS = (-30.0, -15.0, 15.0, 30.0)  # Degrees that an image is turned by.

Pose = Callable[[np.ndarray], dict]  # An image to the columns of a face.


@dataclasses.dataclass(frozen=True)
class Head:
  """What the face stage says of one photograph.

  Attributes:
    turned: "left", "right" or "ahead", by eye.
    yaw: degrees, None where no face is found; the others only where one is.
    mirrored: yaw of the mirrored image.
    rolls: for each of `ROLLS` by how much the roll differs from that.
  """

  turned: str
  yaw: float | None
  mirrored: float | None = None
  rolls: tuple[float | None, ...] = (None,) * len(ROLLS)


def read_turned() -> dict[str, str]:
  """SHA-256 of photographs -> how the largest head in it is turned."""
  packages = json.loads(_TURNED.read_text()).values()
  return {sha: turn for some in packages for turn, sha in some.values()}


def look(image: np.ndarray, turned: str, pose: Pose) -> Head:
  """A head as it is, mirrored, and rolled by each of `ROLLS`."""
  found = pose(image)
  if found["yaw"] is None:
    return Head(turned, None)
  rolls = []
  for angle in ROLLS:
    rolled = pose(roll(image, angle))["roll"]
    if rolled is not None:
      difference = rolled - found["roll"] - angle
      rolled = (difference + 180) % 360 - 180
    rolls.append(rolled)
  mirrored = pose(np.ascontiguousarray(image[:, ::-1]))["yaw"]
  return Head(turned, found["yaw"], mirrored, tuple(rolls))


def roll(image: np.ndarray, angle: float) -> np.ndarray:
  """Turns an image clockwise by degrees about its middle, all of it kept."""
  height, width = image.shape[:2]
  turn = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)
  across, down = np.abs(turn[:, :2]) @ (width, height)
  turn[:, 2] += (across - width) / 2, (down - height) / 2
  size = round(across), round(down)
  return cv2.warpAffine(image, turn, size, borderMode=cv2.BORDER_REPLICATE)


def judge(heads: Sequence[Head]) -> Iterator[str]:
  """Lines about yaw against sight, and about mirrors and rolls."""
  found = [head for head in heads if head.yaw is not None]
  yield labels.describe("head found", len(found), len(heads))
  hits = wrong = 0
  for turned, side in SIDES.items():
    some = [head.yaw * side for head in found if head.turned == turned]
    count = sum(head.turned == turned for head in heads)
    hits += sum(yaw >= MIN_YAW for yaw in some)
    wrong += sum(yaw <= -MIN_YAW for yaw in some)
    yield f"  {turned}: {sum(y > 0 for y in some)} of {count} on that side"
  ahead = [abs(head.yaw) for head in found if head.turned == "ahead"]
  wrong += sum(yaw >= MIN_YAW for yaw in ahead)
  count = sum(head.turned in SIDES for head in heads)
  what = f"turned by {MIN_YAW:g} degrees or more"
  yield labels.describe(f"{what}, recall", hits, count)
  yield labels.describe(f"{what}, precision", hits, hits + wrong)
  pairs = [abs(h.yaw + h.mirrored) for h in found if h.mirrored is not None]
  yield _spread("yaw and that of the mirrored image", pairs, len(found))
  rolls = [h.rolls for h in found]
  for number, angle in enumerate(ROLLS):
    some = [abs(r[number]) for r in rolls if r[number] is not None]
    yield _spread(f"roll by {angle:g} degrees", some, len(found))


def _spread(what: str, errors: list[float], count: int) -> str:
  if not errors:
    return f"{what}: found 0 of {count}"
  middle, most = np.quantile(errors, (0.5, 0.95))
  return (
    f"{what}: found {len(errors)} of {count}, off by {middle:.1f} degrees "
    f"(median), {most:.1f} (95 %)"
  )

r"""Shows images of a corpus and all their labels in one picture.

Run:  python -m data_pipelines.synthetic.contact_sheet --data DIR \
        --output FILE.png [--count 24] [--keypoints]

Of each image a strip: itself, body parts, normals, depth (near is bright),
albedo, alpha. With --keypoints the images alone, larger, with boxes, joints
and links; hidden points are rings. Images are taken evenly from the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines import vocabulary
from data_pipelines.common import command, files, images
from data_pipelines.corpus import labels as labels_lib
from data_pipelines.open_source import open_source
from data_pipelines.sources.base import ShardReadError

_HEIGHT, _STRIPS = 256, 3  # pixels of a tile; strips in a row
_LARGE_HEIGHT, _LARGE_TILES = 1024, 5
_GAP = 4  # pixels


def draw_channels(
  image: np.ndarray, labels: labels_lib.Labels
) -> list[np.ndarray]:
  """Each label of an image as a picture, (h, w, 3) uint8 RGB, image first."""
  mask = labels.mask
  palette = np.zeros((256, 3), np.uint8)
  colors = vocabulary.parts()["palette_rgb"]
  palette[: len(colors)] = colors
  normal = np.where(mask[..., None], (labels.normal + 1) * 127.5, 0)
  depth = np.zeros(mask.shape, np.float32)
  if mask.any():
    seen = labels.depth[mask]
    # Of people far apart each still shows its relief.
    order = np.searchsorted(np.sort(seen), seen)
    depth[mask] = 255 - 215 * order / max(len(seen), 1)
  return [
    image,
    palette[labels.parts],
    normal.astype(np.uint8),
    _to_gray(depth.astype(np.uint8)),
    labels.albedo,
    _to_gray(labels.alpha),
  ]


def draw_keypoints(
  image: np.ndarray, people: Sequence[labels_lib.Person]
) -> np.ndarray:
  """Boxes, links and points of people over an image, (h, w, 3) uint8 RGB."""
  known = vocabulary.keypoints()
  canvas = image.copy()
  scale = max(1, round(image.shape[0] / 512))
  for person in people:
    top, left, height, width = map(round, person.box)
    corner = (left + width - 1, top + height - 1)
    cv2.rectangle(canvas, (left, top), corner, (255, 255, 255), 1)
    points = np.rint(person.keypoints[:, :2]).astype(int).tolist()
    states = person.keypoints[:, 2]
    links = known["skeleton_links"], known["skeleton_link_colors_rgb"]
    for (a, b), color in zip(*links):
      if states[a] and states[b]:
        cv2.line(canvas, points[a], points[b], color, scale, cv2.LINE_AA)
    for point, state, color in zip(points, states, known["colors_rgb"]):
      if state:
        filled = -1 if state == 2 else 1
        cv2.circle(canvas, point, scale + 1, color, filled, cv2.LINE_AA)
  return canvas


def draw_sheet(corpus: str, count: int, with_keypoints: bool) -> np.ndarray:
  """The whole picture, (h, w, 3) uint8 RGB.

  Raises:
    ValueError: no corpus, not so many images, or one without labels.
  """
  source = open_source(corpus)
  if not 1 <= count <= len(source):
    raise ValueError(
      f"count={count}: {corpus} holds {len(source)} images, expected 1 to "
      f"{len(source)}."
    )
  strips = []
  for index in np.linspace(0, len(source) - 1, count).round().astype(int):
    record = source[int(index)]
    if not record.labels:
      raise ValueError(f"{record.name}: has no labels.")
    image = images.decode_image(record.image)
    labels = labels_lib.decode_labels(record.labels)
    if with_keypoints:
      tiles = [draw_keypoints(image, labels.people)]
    else:
      tiles = draw_channels(image, labels)
    height = _LARGE_HEIGHT if with_keypoints else _HEIGHT
    strips.append(_join([_shrink(tile, height) for tile in tiles], 1))
  columns = _LARGE_TILES if with_keypoints else _STRIPS
  rows = [
    _join(strips[start : start + columns], 1)
    for start in range(0, len(strips), columns)
  ]
  return _join(rows, 0)


def _to_gray(values: np.ndarray) -> np.ndarray:
  return np.repeat(values[..., None], 3, axis=-1)


def _shrink(image: np.ndarray, height: int) -> np.ndarray:
  width = max(1, round(image.shape[1] * height / image.shape[0]))
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _join(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
  """Side by side (1) or below each other (0), on white."""
  across = max(picture.shape[1 - axis] for picture in pictures)
  padded = []
  for picture in pictures:
    missing = [(0, 0), (0, 0), (0, 0)]
    missing[axis] = (0, _GAP)
    missing[1 - axis] = (0, across - picture.shape[1 - axis])
    padded.append(np.pad(picture, missing, constant_values=255))
  return np.concatenate(padded, axis)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "python -m data_pipelines.synthetic.contact_sheet",
    "Shows images of a corpus and all their labels.",
  )
  parser.add_argument("--data", required=True, help="of synthetic people")
  parser.add_argument("--output", required=True, help="PNG file to write")
  parser.add_argument("--count", type=int, default=24, help="images")
  parser.add_argument("--keypoints", action="store_true")
  given = parser.parse_args(arguments)

  def work() -> None:
    sheet = draw_sheet(given.data, given.count, given.keypoints)
    data = cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()
    files.write_file(given.output, data)
    print(f"{given.output}: {given.count} images of {given.data}")

  return command.run("contact_sheet", work, explained=(ShardReadError,))


if __name__ == "__main__":
  command.start(main)

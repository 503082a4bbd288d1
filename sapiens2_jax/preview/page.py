"""The page of examples as the model sees them."""

import dataclasses
import operator

import jax
import numpy as np
from PIL import ImageDraw

from sapiens2_jax.pretrain.photometric import Photometric
from sapiens2_jax.report import pictures
from sapiens2_jax.report.page import Figure, Section, render
from sapiens2_jax.report.pictures import Sheet, Tile

ORIGINAL_SIZE = (384, 576)  # pixels on the page, at most
_GLOBAL_HEIGHT = 384
_LOCAL_HEIGHT = 256
_HIDDEN = 128  # gray of a patch that the student does not see
# Of boxes: told apart also by readers who see fewer colours.
_COLORS = (
  (213, 94, 0),
  (0, 114, 178),
  (0, 158, 115),
  (204, 121, 167),
  (230, 159, 0),
  (86, 180, 233),
)


@dataclasses.dataclass(frozen=True)
class Example:
  """One example of a batch, on the host; pairs are of global, local crops."""

  name: str  # of the record
  index: int
  epoch: int
  original: np.ndarray  # (h, w, 3) uint8, possibly decoded smaller
  size: tuple[int, int]  # (height, width) of the original in pixels
  boxes: tuple[np.ndarray, np.ndarray]  # (v, 4) each
  flips: tuple[np.ndarray, np.ndarray]  # (v,) each
  global_views: np.ndarray  # (v, h, w, 3) in [0, 1], as the teacher sees them
  hidden: np.ndarray  # (v, rows, cols), True: hidden from the student
  local_crops: np.ndarray  # (v, h, w, 3) uint8, as they were cut
  local_views: np.ndarray  # (v, h, w, 3) in [0, 1], as the student sees them
  photometric: Photometric  # of the local crops, leaves (v,)


def describe_box(box: np.ndarray, is_flipped: bool) -> tuple[str, str]:
  top, left, height, width = np.round(box).astype(int)
  return (
    f"top {top}, left {left}, {height} × {width} px",
    "flipped" if is_flipped else "not flipped",
  )


def describe_photometric(drawn: Photometric) -> tuple[str, ...]:
  """Lines on one view (scalar leaves); numbers only of what is applied."""
  kinds = (
    "gray" if drawn.is_gray else "colour",
    f"blur {drawn.sigma:.2f} px" if drawn.is_blurred else "no blur",
    "solarized" if drawn.is_solarized else "not solarized",
  )
  if not drawn.is_jittered:
    return ", ".join(kinds), "no colour jitter"
  return (
    ", ".join(kinds),
    f"brightness ×{drawn.brightness:.2f}, contrast ×{drawn.contrast:.2f}",
    f"saturation ×{drawn.saturation:.2f}, hue {drawn.hue * 360:+.0f}°",
  )


def hide(view: np.ndarray, hidden: np.ndarray) -> np.ndarray:
  """A view with its hidden patches in gray."""
  patch = view.shape[0] // hidden.shape[0], view.shape[1] // hidden.shape[1]
  mask = hidden.repeat(patch[0], 0).repeat(patch[1], 1)
  return np.where(mask[..., None], _HIDDEN / 255, view)


def _original(example: Example) -> Tile:
  """The whole image with the boxes of all crops."""
  height, width = example.size
  fitting = min(ORIGINAL_SIZE[0], ORIGINAL_SIZE[1] * height // width)
  image = pictures.to_image(example.original, max(1, fitting))
  scale = np.array(image.size[::-1]) / example.size
  draw = ImageDraw.Draw(image)
  for number, box in enumerate(np.concatenate(example.boxes)):
    top, left = box[:2] * scale
    bottom, right = (box[:2] + box[2:]) * scale - 1
    edges = (round(left), round(top), round(right), round(bottom))
    draw.rectangle(edges, outline=_color(number), width=3)
    place = edges[0] + 6, edges[1] + 4
    name = _name(number, len(example.boxes[0]))
    draw.text(place, name, fill=_color(number), font_size=15)
  text = f"{example.name} with the boxes of all crops"
  return Tile(image, "original", text=text)


def _name(number: int, num_global: int) -> str:
  """Of a crop, in the order of the boxes."""
  is_global = number < num_global
  return f"global {number}" if is_global else f"local {number - num_global}"


def _color(number: int) -> tuple[int, int, int]:
  return _COLORS[number % len(_COLORS)]


def _pair(
  pixels: tuple, height: int, labels: tuple[str, str], below: tuple, color
) -> list[Tile]:
  """Two pictures of one crop, framed in the colour of its box."""
  return [
    Tile(pictures.to_image(one, height), label, color, lines)
    for one, label, lines in zip(pixels, labels, below)
  ]


def _globals(example: Example) -> Sheet:
  groups = [[_original(example)]]
  for i, (view, hidden) in enumerate(zip(example.global_views, example.hidden)):
    box = describe_box(example.boxes[0][i], example.flips[0][i])
    below = box, (f"{hidden.sum()} of {hidden.size} patches hidden",)
    labels = f"{_name(i, i + 1)}: teacher", "student"
    pair = view, hide(view, hidden)
    groups.append(_pair(pair, _GLOBAL_HEIGHT, labels, below, _color(i)))
  return Sheet(groups)


def _locals(example: Example) -> Sheet:
  groups, first = [], len(example.boxes[0])
  for i, pair in enumerate(zip(example.local_crops, example.local_views)):
    drawn = jax.tree.map(operator.itemgetter(i), example.photometric)
    box = describe_box(example.boxes[1][i], example.flips[1][i])
    below = box, describe_photometric(drawn)
    labels = f"local {i}: crop", "student"
    color = _color(first + i)
    groups.append(_pair(pair, _LOCAL_HEIGHT, labels, below, color))
  return Sheet(groups)


def make_section(example: Example) -> Section:
  """One example: the original, then what is made of it."""
  height, width = example.size
  figures = [Figure(_globals(example), "The original and its global views")]
  if len(example.local_views):
    figures.append(Figure(_locals(example), "Its local views"))
  where = (
    f"Record {example.index}, epoch {example.epoch}, {height} × {width} pixels."
  )
  name = f"record-{example.index}-{example.epoch}"
  return Section(name, example.name, text=[where], figures=figures)


def make_page(examples: list[Example], step: int, seed: int) -> str:
  """The whole document."""
  return render(
    "What the model sees",
    f"step {step}, seed {seed}: {len(examples)} examples of its batch",
    [make_section(example) for example in examples],
  )

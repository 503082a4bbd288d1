"""Draws examples as the model sees them on one white page."""

import dataclasses
import operator

import jax
import numpy as np
from PIL import Image, ImageDraw

from sapiens2_jax.pretrain.photometric import Photometric
from sapiens2_jax.report import pictures

ORIGINAL_SIZE = (384, 576)  # pixels on the page, at most
_GLOBAL_HEIGHT = 384
_LOCAL_HEIGHT = 256
_PAIR_WIDTH = 400  # at least: the text below needs it
_PAGE_WIDTH = 1800
_FONT_SIZE = 15
_TEXT = (40, 44, 52, 255)
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


def _under_bar(image: Image.Image, width: int, color) -> Image.Image:
  """On white, at least `width` wide, below a bar of its width."""
  size = (max(image.width, width), image.height + pictures.GAP)
  canvas = Image.new("RGB", size, "white")
  canvas.paste(image.convert("RGB"), (0, pictures.GAP))
  bar = (0, 0, image.width - 1, pictures.GAP // 2)
  ImageDraw.Draw(canvas).rectangle(bar, fill=color)
  return canvas


def _pair(left, right, height: int, color, label: str, below) -> pictures.Tile:
  """Two pictures side by side under a bar in the colour of their box."""
  pair = [pictures.to_image(pixels, height) for pixels in (left, right)]
  width = pair[0].width + pictures.GAP + pair[1].width
  both = Image.new("RGB", (width, pair[0].height), "white")
  both.paste(pair[0], (0, 0))
  both.paste(pair[1], (width - pair[1].width, 0))
  canvas = _under_bar(both, _PAIR_WIDTH, color)
  return pictures.Tile(canvas, label, below=tuple(below))


def _original(example: Example, colors) -> pictures.Tile:
  """The whole image with the boxes of all crops."""
  height, width = example.size
  fitting = min(ORIGINAL_SIZE[0], ORIGINAL_SIZE[1] * height // width)
  image = pictures.to_image(example.original, max(1, fitting))
  scale = np.array(image.size[::-1]) / example.size
  draw = ImageDraw.Draw(image)
  for box, color in zip(np.concatenate(example.boxes), colors):
    top, left = box[:2] * scale
    bottom, right = (box[:2] + box[2:]) * scale - 1
    edges = (round(left), round(top), round(right), round(bottom))
    draw.rectangle(edges, outline=color, width=3)
  canvas = _under_bar(image, 0, "white")
  return pictures.Tile(canvas, "original, and the boxes of all crops")


def _block(example: Example) -> list[list[pictures.Tile]]:
  """Rows of tiles for one example."""
  num_global, num_local = map(len, example.boxes)
  colors = [_COLORS[i % len(_COLORS)] for i in range(num_global + num_local)]
  height, width = example.size
  title = (
    f"{example.name}   |   record {example.index}, epoch {example.epoch}, "
    f"{height} × {width} px"
  )
  rule = Image.new("RGB", (_PAGE_WIDTH, 2), (200, 204, 210))
  tiles = [_original(example, colors)]
  for i, (view, hidden) in enumerate(zip(example.global_views, example.hidden)):
    below = (
      *describe_box(example.boxes[0][i], example.flips[0][i]),
      f"{hidden.sum()} of {hidden.size} patches hidden",
    )
    pair = (view, hide(view, hidden), _GLOBAL_HEIGHT, colors[i])
    tiles.append(_pair(*pair, f"global {i}: teacher, student", below))
  rows = pictures.pack([[tile] for tile in tiles], _PAGE_WIDTH)
  tiles = []
  for i, views in enumerate(zip(example.local_crops, example.local_views)):
    drawn = jax.tree.map(operator.itemgetter(i), example.photometric)
    below = (
      *describe_box(example.boxes[1][i], example.flips[1][i]),
      *describe_photometric(drawn),
    )
    pair = (*views, _LOCAL_HEIGHT, colors[num_global + i])
    tiles.append(_pair(*pair, f"local {i}: crop, student", below))
  rows += pictures.pack([[tile] for tile in tiles], _PAGE_WIDTH)
  return [[pictures.Tile(rule, title)], *rows]


def draw_page(examples: list[Example], title: str) -> Image.Image:
  """All examples, one block below the other, under a title."""
  space = Image.new("RGB", (_PAGE_WIDTH, 2 * pictures.GAP), "white")
  rows = [[pictures.Tile(space, title)]]
  for example in examples:
    rows += [*_block(example), [pictures.Tile(space)]]
  drawn = pictures.grid(rows, font_size=_FONT_SIZE, color=_TEXT)
  return pictures.on_white(drawn)

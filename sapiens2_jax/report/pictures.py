"""Arrays to pictures: tiles with labels, in a page or in a file.

A page shows each tile as a picture of its own, so that it fits phones and its
label is text; a file holds all of them. In files labels are gray and the
background is transparent, so that one can lie on a light or on a dark page.
"""

import dataclasses
import functools
import io
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_pipelines.common import packages

GRAY = (128, 128, 128, 255)
GAP = 10  # pixels between tiles
FONT_SIZE = 18
HEIGHT = 256  # pixels of a tile in a report
WIDTH = 1600  # pixels of a picture in a report, at most
LINE = 1.5  # height of a line, in font sizes
_QUALITY = 88  # of pictures in a page, as WebP counts it  # ours


@dataclasses.dataclass(frozen=True)
class Tile:
  """A picture with a label above, a frame, and lines of text below."""

  image: Image.Image  # RGB
  label: str | None = None  # above; None takes no line, "" an empty one
  frame: tuple[int, int, int] | None = None  # colour, inside the edge
  below: tuple[str, ...] = ()  # lines under the label, in a page
  text: str = ""  # what is seen, for those who cannot see it


@dataclasses.dataclass(frozen=True)
class Sheet:
  """Groups of tiles that belong together, such as a photograph's."""

  groups: list[list[Tile]]
  width: int = WIDTH  # pixels of a row in a file, at most
  font_size: int = FONT_SIZE  # in a file

  def draw(self) -> Image.Image:
    """All of it, RGBA."""
    rows = pack(self.groups, self.width)
    return grid(rows, group=len(self.groups[0]), font_size=self.font_size)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
  matplotlib = packages.require("matplotlib", "report")
  folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
  return ImageFont.truetype(os.path.join(folder, "DejaVuSans.ttf"), size)


def to_image(pixels: np.ndarray, height: int) -> Image.Image:
  """(h, w, 3), uint8 or in [0, 1], to RGB of about `height` pixels.

  Enlarged by a whole number without smoothing, so that what was computed is
  seen as it is; made smaller with smoothing.
  """
  if pixels.dtype != np.uint8:
    pixels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
  image = Image.fromarray(pixels)
  if image.height <= height:
    factor = max(1, round(height / image.height))
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)
  width = max(1, round(image.width * height / image.height))
  return image.resize((width, height), Image.Resampling.LANCZOS)


def stretch(image: Image.Image, size: tuple[int, int]) -> Image.Image:
  """To (width, height) pixels exactly, without smoothing."""
  return image.resize(size, Image.Resampling.NEAREST)


def shorten(text: str, width: float, size: int) -> str:
  """Makes `text` one line of at most `width` pixels, with an ellipsis."""
  font, text = _font(size), " ".join(text.splitlines())
  if font.getlength(text) <= width:
    return text
  while text and font.getlength(text + "…") > width:
    text = text[:-1]
  return text + "…"


def grid(
  rows: list[list[Tile]], *, group: int = 0, font_size: int = FONT_SIZE
) -> Image.Image:
  """Draws rows of tiles, RGBA, each row as high as its highest tile.

  Args:
    rows: of tiles, from left to right.
    group: after each so many tiles of a row, a wider gap; 0 for none.
    font_size: of all text, in pixels.
  """
  line = round(LINE * font_size)

  def gap(column: int) -> int:
    return GAP * (4 if group and column % group == 0 else 1)

  widths = [
    sum(t.image.width + (gap(i) if i else 0) for i, t in enumerate(row))
    for row in rows
  ]
  tops, height = [], 0
  for row in rows:
    has_label = any(tile.label is not None for tile in row)
    height += (GAP if tops else 0) + (line if has_label else 0)
    tops.append(height)
    height += max(tile.image.height for tile in row)
  canvas = Image.new("RGBA", (max(widths), height), (0, 0, 0, 0))
  draw = ImageDraw.Draw(canvas)
  for top, row in zip(tops, rows):
    left = 0
    for column, tile in enumerate(row):
      left += gap(column) if column else 0
      canvas.paste(tile.image, (left, top))
      box = (left, top, left + tile.image.width, top + tile.image.height)
      if tile.frame is not None:
        edge = (box[0], box[1], box[2] - 1, box[3] - 1)
        draw.rectangle(edge, outline=(*tile.frame, 255), width=5)
      draw.text(
        (left, top - line / 2),
        shorten(tile.label or "", tile.image.width, font_size),
        fill=GRAY,
        font=_font(font_size),
        anchor="lm",
      )
      left = box[2]
  return canvas


def pack(groups: list[list[Tile]], max_width: int) -> list[list[Tile]]:
  """Puts groups of tiles into rows of at most `max_width` pixels."""
  rows: list[list[Tile]] = []
  for group in groups:
    both = (*rows[-1], *group) if rows else ()
    if both and sum(tile.image.width + GAP for tile in both) <= max_width:
      rows[-1] += group
    else:
      rows.append([*group])
  return rows


def to_png(image: Image.Image) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, "PNG", compress_level=6)
  return buffer.getvalue()


def to_webp(image: Image.Image) -> bytes:
  """A tenth of a PNG of a photograph, and all browsers show it."""
  buffer = io.BytesIO()
  image.save(buffer, "WEBP", quality=_QUALITY)
  return buffer.getvalue()


def on_white(image: Image.Image) -> Image.Image:
  """Without transparency, with a margin: for a picture that stands alone."""
  size = (image.width + 2 * GAP, image.height + 2 * GAP)
  canvas = Image.new("RGB", size, "white")
  canvas.paste(image, (GAP, GAP), image)
  return canvas

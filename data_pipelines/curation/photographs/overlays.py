"""Text that is drawn over photographs, and how much of it is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image as pil
from PIL import ImageDraw, ImageFont

from data_pipelines.curation.photographs import judging, labels

TEXT = "Sample Photo 2024"
CAPTION = (
  "Words over a photograph,",
  "as posters and posts",
  "have them: large letters",
)
NUM_IMAGES = 50  # The first ones, of people and of nobody.
MIN_SIDE = 384  # Pixels; what is smaller is no image for a corpus.


@dataclasses.dataclass(frozen=True)
class Overlay:
  """One way to write over an image.

  Attributes:
    size: of the letters, as a share of the image's shorter side.
    where: "corner": one line; "caption": three in the lower middle; "tiled":
      one line again and again.
    opacity: of white letters with a dark rim, in [0, 1].
  """

  size: float
  where: str = "corner"
  opacity: float = 1.0


OVERLAYS = {
  **{f"a line, {s:.0%}": Overlay(s) for s in (0.02, 0.04, 0.08)},
  **{f"a caption, {s:.0%}": Overlay(s, "caption") for s in (0.06, 0.1)},
  "watermarks, 5%": Overlay(0.05, "tiled"),
  "watermarks, 5%, faint": Overlay(0.05, "tiled", 0.35),
}


def draw(image: np.ndarray, overlay: Overlay) -> np.ndarray:
  """(h, w, 3) uint8 with text over it, the same for the same image."""
  height, width = image.shape[:2]
  letters = max(round(overlay.size * min(height, width)), 4)
  font = ImageFont.load_default(letters)
  layer = pil.new("RGBA", (width, height))
  pen = ImageDraw.Draw(layer)
  alpha = round(255 * overlay.opacity)

  def write(place: tuple[float, float], text: str, anchor: str) -> None:
    colours = {"fill": (255, 255, 255, alpha), "stroke_fill": (0, 0, 0, alpha)}
    stroke = max(letters // 16, 1)
    pen.text(
      place, text, font=font, anchor=anchor, stroke_width=stroke, **colours
    )

  if overlay.where == "corner":
    write((letters / 2, height - letters / 2), TEXT, "lb")
  elif overlay.where == "caption":
    for number, text in enumerate(CAPTION):
      above = 1.3 * letters * (len(CAPTION) - number)
      write((width / 2, height - above), text, "mt")
  else:
    step = pen.textlength(TEXT, font=font) + 2 * letters
    for row, y in enumerate(np.arange(letters, height, 4 * letters)):
      for x in np.arange(-step / 2 * (row % 2), width, step):
        write((x, y), TEXT, "lm")
  under = pil.fromarray(image).convert("RGBA")
  return np.asarray(pil.alpha_composite(under, layer).convert("RGB"))


def judge(
  found: Mapping[str, Sequence[dict]], max_share: float = judging.MAX_TEXT
) -> Iterator[str]:
  """Lines of a table.

  Args:
    found: name of an overlay -> columns of the text stage of each image.
    max_share: limit of a curation.
  """
  for name, some in found.items():
    read = sum(one["lines"] > 0 for one in some)
    out = sum(one["share"] > max_share for one in some)
    middle = float(np.median([one["share"] for one in some])) if some else 0.0
    yield labels.describe(f"{name}: read", read, len(some))
    yield labels.describe(f"{name}: left out", out, len(some))
    yield f"  share, median {middle:.3f}"

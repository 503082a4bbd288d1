"""A photograph of faces with landmarks, and its XML file, for tests."""

import pathlib

import numpy as np

from tests.data_pipelines.annotated import made

SIZE = (60, 80)


def draw_points(left: float, top: float, side: float) -> np.ndarray:
  """(68, 2) whole pixels in a box: no face, but eyes are apart."""
  rng = np.random.default_rng(0)
  points = rng.uniform(0.1, 0.9, (68, 2))
  points[36], points[45] = (0.2, 0.4), (0.8, 0.4)
  return np.round(points * side + (left, top))


def write_faces(
  folder: pathlib.Path, name: str, photographs: dict[str, list[tuple]]
) -> pathlib.Path:
  """Writes photographs with a face for each (left, top, side), and the XML."""
  lines = ["<?xml version='1.0' encoding='ISO-8859-1'?>", "<dataset><images>"]
  for number, (file, boxes) in enumerate(photographs.items()):
    made.write_image(folder / file, SIZE, seed=number)
    lines.append(f"<image file='{file}' width='{SIZE[1]}' height='{SIZE[0]}'>")
    for left, top, side in boxes:
      box = f"left='{left}' top='{top}' width='{side}' height='{side}'"
      lines.append(f"<box {box}>")
      for place, (x, y) in enumerate(draw_points(left, top, side)):
        lines.append(f"<part name='{place:02d}' x='{x:g}' y='{y:g}'/>")
      lines.append("</box>")
    lines.append("</image>")
  path = folder / name
  path.write_text("\n".join([*lines, "</images></dataset>"]))
  return path

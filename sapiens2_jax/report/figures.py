"""The pictures of a report, from what was found on the photographs."""

import numpy as np
from PIL import Image

from sapiens2_jax.report.analysis import (
  Findings,
  PatchComponents,
  Reconstruction,
  Retrieval,
)
from sapiens2_jax.report.photographs import Photograph
from sapiens2_jax.report.pictures import Tile, grid, pack, stretch, to_image

HEIGHT = 256  # pixels of a tile
WIDTH = 1600  # pixels of a picture, at most
SAME, OTHER = (46, 160, 110), (217, 119, 54)  # frames of neighbours
NUM_QUERIES = 8


def draw_all(findings: Findings) -> dict[str, Image.Image]:
  """All pictures by file name, without extension."""
  return {
    "overview": draw_overview(findings),
    "reconstruction": draw_reconstruction(findings.reconstruction),
    "components": draw_components(findings.shown, findings.components),
    "neighbors": draw_neighbors(findings.retrieval),
  }


def _pairs_of_rows(groups: list[list[Tile]]) -> list[list[Tile]]:
  """Two groups a row if both fit."""
  width = sum(tile.image.width for tile in groups[0])
  if 2 * width > WIDTH:
    return groups
  return [sum(groups[i : i + 2], []) for i in range(0, len(groups), 2)]


def draw_reconstruction(found: Reconstruction) -> Image.Image:
  """Four tiles a photograph: image, masked, patch means, reconstruction."""
  groups = []
  for i, image in enumerate(found.images):
    mask = "blockwise" if found.blockwise[i] else "uniform"
    columns = (
      (image, "image"),
      (found.masked[i], f"seen ({mask})"),
      (found.mean[i], f"means  {found.baselines[i]:.3f}"),
      (found.predicted[i], f"predicted  {found.losses[i]:.3f}"),
    )
    groups.append(
      [Tile(to_image(pixels, HEIGHT), label) for pixels, label in columns]
    )
  return grid(_pairs_of_rows(groups), group=4)


def draw_components(
  shown: list[Photograph], found: PatchComponents
) -> Image.Image:
  """Each photograph in its own proportions, beside its patch features."""
  groups = []
  for photograph, colors in zip(shown, found.whole):
    height, width = photograph.size
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    photo = Image.fromarray(photograph.image)
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    painted = stretch(to_image(colors, colors.shape[0]), size)
    groups.append([Tile(photo), Tile(painted)])
  return grid(pack(groups, WIDTH), group=2)


def draw_neighbors(found: Retrieval) -> Image.Image:
  """Queries, one photograph after another, and their nearest crops."""
  _, first = np.unique(found.groups, return_index=True)
  groups = []
  for number, query in enumerate(first[:NUM_QUERIES]):
    # Another crop of each photograph, so that easy ones are not picked.
    query = min(query + number % 4, len(found.groups) - 1)
    tiles = [Tile(to_image(found.crops[query], 144), "query")]
    for i, similarity in zip(found.ids[query], found.similarities[query]):
      same = found.groups[i] == found.groups[query]
      tiles.append(
        Tile(
          to_image(found.crops[i], 144),
          f"{similarity:.3f}",
          SAME if same else OTHER,
        )
      )
    groups.append(tiles)
  return grid(_pairs_of_rows(groups), group=len(groups[0]), font_size=12)


def draw_overview(findings: Findings) -> Image.Image:
  """One picture of it all: the first three photographs, four views of each."""
  found, colors = findings.reconstruction, findings.components.centers
  rows = []
  for i in range(min(3, len(found.images))):
    images = [
      to_image(pixels, HEIGHT)
      for pixels in (found.images[i], found.masked[i], found.predicted[i])
    ]
    painted = to_image(colors[i], colors.shape[1])
    images.append(stretch(painted, images[0].size))
    labels = ("input", "masked", "reconstruction", "patch features")
    rows.append(
      [
        Tile(image, label if i == 0 else None)
        for image, label in zip(images, labels)
      ]
    )
  return grid(rows)

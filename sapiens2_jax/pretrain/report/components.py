"""Principal components of patch features, as colours."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image

from sapiens2_jax.evaluation import encoding
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.pretrain.objective import PretrainObjective
from sapiens2_jax.pretrain.report import photographs
from sapiens2_jax.pretrain.report.photographs import Photograph
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.pictures import (
  HEIGHT,
  Sheet,
  Tile,
  stretch,
  to_image,
)

NAME, TITLE = "components", "Patch features"
MAX_GRID = 1200  # patches of a photograph
PERCENTILES = (1.0, 99.0)  # of a component, mapped to 0 and 1  # ours


@dataclasses.dataclass(frozen=True)
class Components:
  """Leading principal components of a set of features."""

  mean: np.ndarray  # (d,) of the features
  axes: np.ndarray  # (k, d), orthonormal; the largest entry is positive
  explained: np.ndarray  # (k,) fraction of the total variance, in [0, 1]
  low: np.ndarray  # (k,) of the projections, at `PERCENTILES`
  high: np.ndarray


def fit_components(
  features: Float[np.ndarray, "n d"], count: int = 3
) -> Components:
  """Finds the directions in which features vary most."""
  x = features.astype(np.float64)
  mean = x.mean(axis=0)
  values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
  order = np.argsort(values)[::-1][:count]
  axes = vectors[:, order].T
  largest = np.abs(axes).argmax(axis=1)
  axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
  low, high = np.percentile((x - mean) @ axes.T, PERCENTILES, axis=0)
  total = max(values.sum(), np.finfo(np.float64).tiny)
  return Components(mean, axes, values[order] / total, low, high)


def paint(
  features: Float[np.ndarray, "*b d"], components: Components
) -> Float[np.ndarray, "*b k"]:
  """Projections on the components as brightness in [0, 1]."""
  x = (features.astype(np.float64) - components.mean) @ components.axes.T
  span = np.maximum(components.high - components.low, 1e-12)
  return np.clip((x - components.low) / span, 0.0, 1.0)


def scale(grid: TokenGrid) -> int:
  """How many times the training size photographs are shown at: 1 to 3."""
  fits = [s for s in (3, 2) if s * s * grid.num_tokens <= MAX_GRID]
  return fits[0] if fits else 1


def find(
  objective: PretrainObjective, teacher: dict, shown: list[Photograph]
) -> tuple[Section, Float[np.ndarray, "n rows cols 3"]]:
  """Encodes photographs above training size, and paints their patches.

  Args:
    objective: of the run.
    teacher: parameters of the encoder.
    shown: photographs.

  Returns:
    The section, and the centre of each photograph in the same colours.
  """
  times = scale(objective.grid)
  size = tuple(times * side for side in objective.grid.image_size)
  # Two shapes, so that two programs serve all photographs.
  is_upright = [(p.size[0] >= p.size[1]) == (size[0] >= size[1]) for p in shown]
  centers = [photographs.cut_center(p, size) for p in shown]
  upright = [p for p, same in zip(shown, is_upright) if same]
  turned = [p for p, same in zip(shown, is_upright) if not same]

  def encode(views: list[np.ndarray]) -> Iterator[np.ndarray]:
    if not views:
      return iter(())
    out = encoding.encode(objective.encoder, teacher, np.stack(views))
    return iter(out["patches"])

  first = encode([photographs.squeeze(p, size) for p in upright] + centers)
  second = encode([photographs.squeeze(p, size[::-1]) for p in turned])
  whole = [next(first if same else second) for same in is_upright]
  everything = np.concatenate([x.reshape(-1, x.shape[-1]) for x in whole])
  components = fit_components(everything)
  picture = draw(shown, [paint(x, components) for x in whole])
  section = _make_section(picture, components.explained, size)
  return section, paint(np.stack(list(first)), components)


def draw(shown: list[Photograph], painted: list[np.ndarray]) -> Sheet:
  """Each photograph in its own proportions, beside its patch features."""
  groups = []
  for photograph, colors in zip(shown, painted):
    height, width = photograph.size
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    photo = Image.fromarray(photograph.image)
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    features = stretch(to_image(colors, colors.shape[0]), size)
    name = photograph.credit[0]
    groups.append(
      [
        Tile(photo, text=f"photograph {name}"),
        Tile(features, text=f"patch features of {name} as colours"),
      ]
    )
  return Sheet(groups)


def _make_section(
  picture: Sheet, explained: np.ndarray, size: tuple[int, int]
) -> Section:
  height, width = size
  each = ", ".join(f"{fraction:.0%}" for fraction in explained)
  caption = (
    "Patch features of the teacher's encoder on whole photographs, resized "
    f"to {height} x {width} pixels (wide ones to {width} x {height}), beside "
    "the photograph. Red, green and blue are the first three principal "
    "components over all these photographs together, which explain "
    f"{each} of the variance ({explained.sum():.0%} in all). "
    "Patches of one thing in one colour, also across photographs, are what "
    "good features show; smooth colours that only follow the position or "
    "the brightness are what little training shows."
  )
  alt = "Photographs beside their patch features in false colours"
  return Section(
    NAME,
    TITLE,
    figures=[Figure(picture, alt, caption)],
    numbers={"explained_variance": [float(x) for x in explained]},
  )

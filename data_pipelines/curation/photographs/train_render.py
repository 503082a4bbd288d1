r"""Fits the photo-or-render scorer on the tune half of the labelled images.

Run:  python -m data_pipelines.curation.photographs.train_render \
        [--photographs DIR] [--models DIR] [--output FILE]

Writes scorers/render.json, the same bytes from the same images. Each image is
seen as it is, and once more shrunk and compressed anew by chance: photographs
come as JPEG and drawings as PNG, and that must not be what tells them apart.
Also prints how it does on packages of the tune half that were left out of the
fit. The test half is not looked at: that is what the command beside it does.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.common import command, files
from data_pipelines.curation.photographs import fetching, fitting, labels
from data_pipelines.curation.scorers import render

_SEED = 0
_RIDGE = 30.0  # Chosen by leaving publishers of the tune half out.
_SIDES, _QUALITIES = (256, 1448), (40, 95)  # Of what is compressed anew.
_NAME = "curation.photographs.train_render"


def compress(image: np.ndarray, side: int, quality: int) -> np.ndarray:
  """An image with a long side of at most `side`, out of a JPEG."""
  scale = side / max(image.shape[:2])
  if scale < 1:
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
  options = [cv2.IMWRITE_JPEG_QUALITY, quality]
  _, data = cv2.imencode(".jpg", image[..., ::-1], options)
  return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """An image shrunk and compressed by chance."""
  low, high = np.log2(_SIDES)
  side = round(2 ** rng.uniform(low, high))
  return compress(image, side, int(rng.integers(*_QUALITIES, endpoint=True)))


def fit_twice(
  plain: np.ndarray, varied: np.ndarray, is_photo: np.ndarray
) -> np.ndarray:
  """(k + 1,) weights from (n, k) features of images and of their variants."""
  both = np.concatenate([plain, varied])
  return fitting.fit_scaled(both, np.tile(is_photo, 2), _RIDGE)


def _leave_out(
  plain: np.ndarray,
  varied: np.ndarray,
  is_photo: np.ndarray,
  sources: np.ndarray,
) -> np.ndarray:
  """(n,) logits, each by a fit without the image's package."""
  made = np.zeros(len(plain))
  for source in np.unique(sources):
    out = sources == source
    weights = fit_twice(plain[~out], varied[~out], is_photo[~out])
    made[out] = plain[out] @ weights[:-1] + weights[-1]
  return made


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    f"python -m data_pipelines.{_NAME}", "Fits the photo-or-render scorer."
  )
  parser.add_argument("--photographs", help="directory to keep them in")
  parser.add_argument("--models", help="directory of the models")
  parser.add_argument("--output", help="file of the weights")
  given = parser.parse_args(arguments)
  root = fetching.find_root(given.photographs)

  def work() -> None:
    wanted = [
      image
      for image in labels.read_labels()
      if image.half == "tune" and labels.is_photo(image.kind) is not None
    ]
    fetching.fetch(root, wanted)
    scorer = render.RenderScorer(models=given.models)
    scorer.load()
    rng = np.random.default_rng(_SEED)
    plain, varied = [], []
    for image in wanted:
      pixels = fetching.read_image(root, image)
      plain.append(scorer.embed(pixels))
      varied.append(scorer.embed(vary(pixels, rng)))
    is_photo = np.array([labels.is_photo(image.kind) for image in wanted])
    sources = np.array([image.requirement for image in wanted])
    features = np.array(plain), np.array(varied), is_photo
    made = _leave_out(*features, sources)
    print(
      f"packages left out: photographs {np.mean(made[is_photo] >= 0):.3f}, "
      f"others {np.mean(made[~is_photo] < 0):.3f} told right, area under "
      f"the curve {fitting.area_under_curve(made, is_photo):.3f}"
    )
    kinds = np.array([image.kind for image in wanted])
    for kind in (*labels.PHOTOS, *labels.NO_PHOTOS):
      hits = made[kinds == kind] >= 0
      print(f"  {kind}: {hits.sum()} of {len(hits)} count as photographs")
    weights = [float(f"{weight:.6g}") for weight in fit_twice(*features)]
    counts = {
      "photographs": int(is_photo.sum()),
      "others": int((~is_photo).sum()),
    }
    output = pathlib.Path(given.output or render.WEIGHTS)
    files.write_json(output, {"fitted_on": counts, "weights": weights})
    print(f"{output}: {len(weights)} weights, {counts}")

  return command.run(_NAME, work)


if __name__ == "__main__":
  command.start(main)

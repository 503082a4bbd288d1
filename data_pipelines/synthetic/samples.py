"""One synthetic image and its labels, given only a seed and a number."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import simplejpeg

from data_pipelines.corpus import labels as labels_lib
from data_pipelines.corpus import records
from data_pipelines.synthetic import backgrounds, film, materials, render, scene
from data_pipelines.synthetic.backgrounds import Photographs, Size
from data_pipelines.synthetic.mesh import PersonMesh

VERSION = 2  # of what is drawn: another one gives other images
_QUALITY = 95  # of the JPEG


class People(Protocol):
  """Where people come from, such as `body.BodyModel`."""

  def sample_person(self, rng: np.random.Generator) -> PersonMesh:
    """Draws one person."""


def draw_sample(
  people: People,
  photographs: Photographs,
  size: Size,
  *,
  seed: int,
  index: int,
  empty: float = 0.0,
) -> tuple[np.ndarray, labels_lib.Labels]:
  """Draws and renders one image.

  What it shows depends on nothing but the arguments.

  Args:
    people: source of bodies.
    photographs: for backgrounds.
    size: height and width in pixels.
    seed: of the corpus.
    index: of the image.
    empty: how likely the image shows nobody.

  Returns:
    (h, w, 3) uint8 sRGB, and what is known about it.
  """
  rng = np.random.default_rng([seed, index])
  # Each its own, so that a new kind of cloth leaves bodies as they were.
  for_people, for_scene, for_looks, for_background, for_film = rng.spawn(5)
  if rng.spawn(1)[0].random() < empty:
    image = backgrounds.draw_background(for_background, size, photographs)
    nothing = np.zeros(size, np.uint8)
    labels = labels_lib.Labels(people=(), alpha=nothing, parts=nothing)
    return film.expose(for_film, image), labels
  meshes = [
    people.sample_person(for_people)
    for _ in range(scene.draw_count(for_people))
  ]
  drawn = scene.draw_scene(for_scene, meshes, size)
  looks = [materials.draw_materials(for_looks, mesh) for mesh in meshes]
  background = backgrounds.draw_background(for_background, size, photographs)
  image, labels = render.render(drawn, looks, background)
  return film.expose(for_film, image), labels


def make_record(
  people: People,
  photographs: Photographs,
  size: Size,
  *,
  seed: int,
  index: int,
  empty: float = 0.0,
) -> records.Record:
  """Draws and renders one image, and makes a record of it."""
  pixels, labels = draw_sample(
    people, photographs, size, seed=seed, index=index, empty=empty
  )
  image = simplejpeg.encode_jpeg(pixels, _QUALITY, colorsubsampling="444")
  return records.Record(
    image=image,
    height=size[0],
    width=size[1],
    content_hash=records.hash_content(image),
    name=f"synthetic/{seed}/{index:08}.jpg",
    source=f"sapiens2_jax, synthetic people, seed {seed}, image {index}",
    licence="CC0",
    person_boxes=tuple(person.box for person in labels.people),
    labels=labels_lib.encode_labels(labels),
  )

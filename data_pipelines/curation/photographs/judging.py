"""Stages of a curation against labels, as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from data_pipelines.curation.photographs import fitting, labels

# The limits of a curation; `sapiens2_jax.validation.curation` has the same.
MIN_PERSON, MIN_PHOTO = 0.5, 0.5
MAX_TEXT, MAX_NSFW = 0.05, 0.5
Scored = Sequence[tuple[labels.Labelled, dict]]  # Columns with prefix.


def judge_person(scored: Scored) -> Iterator[str]:
  """Precision and recall; then what it says of kinds that do not count."""
  people = _values(scored, (labels.PERSON,), "person_score") >= MIN_PERSON
  nobody = _values(scored, labels.NOBODY, "person_score") >= MIN_PERSON
  yield labels.describe("person recall", people.sum(), len(people))
  hits = people.sum()
  yield labels.describe("person precision", hits, hits + nobody.sum())
  for kind in (*labels.NOBODY, *labels.UNCLEAR):
    hits = _values(scored, (kind,), "person_score") >= MIN_PERSON
    yield f"  {kind}: {hits.sum()} of {len(hits)} pass"


def judge_render(scored: Scored, column: str) -> Iterator[str]:
  """Precision and recall of both classes, and the area under the curve."""
  photos = _values(scored, labels.PHOTOS, column)
  others = _values(scored, labels.NO_PHOTOS, column)
  kept, taken = (photos >= MIN_PHOTO).sum(), (others < MIN_PHOTO).sum()
  missed, wrong = len(photos) - kept, len(others) - taken
  yield labels.describe("photograph recall", kept, len(photos))
  yield labels.describe("photograph precision", kept, kept + wrong)
  yield labels.describe("drawn or rendered recall", taken, len(others))
  yield labels.describe("drawn or rendered precision", taken, taken + missed)
  if len(photos) and len(others):
    values = np.concatenate([photos, others])
    is_photo = np.arange(len(values)) < len(photos)
    area = fitting.area_under_curve(values, is_photo)
    yield f"area under the curve {area:.3f}"
  for kind in (*labels.PHOTOS, *labels.NO_PHOTOS):
    hits = _values(scored, (kind,), column) >= MIN_PHOTO
    yield f"  {kind}: {hits.sum()} of {len(hits)} count as photographs"


def judge_face(scored: Scored, hidden: Collection[str]) -> Iterator[str]:
  """Precision and recall of faces in photographs of people and of nobody.

  Args:
    scored: of the test half.
    hidden: SHA-256 of those with people but without a face.
  """
  hits = misses = wrong = 0
  for image, known in scored:
    is_found = known["face_count"] > 0
    if image.kind == labels.PERSON and image.sha256 not in hidden:
      hits, misses = hits + is_found, misses + (not is_found)
    elif image.kind in (labels.PERSON, *labels.NOBODY):
      wrong += is_found
  yield labels.describe("face recall", hits, hits + misses)
  yield labels.describe("face precision", hits, hits + wrong)


def judge_others(scored: Scored) -> Iterator[str]:
  """What the labels say of masks, text and safety: not much."""
  for kinds, name in (
    (("screen", "depicted"), "screens, pages and covers"),
    (labels.PHOTOS, "photographs"),
  ):
    text = _values(scored, kinds, "text_share") > MAX_TEXT
    yield labels.describe(f"text left out, {name}", text.sum(), len(text))
  unsafe = _values(scored, None, "safety_nsfw") > MAX_NSFW
  yield labels.describe("safety left out, all", unsafe.sum(), len(unsafe))
  people = [known for image, known in scored if image.kind == labels.PERSON]
  for column in ("mask_share", "mask_hidden"):
    known = [one[column] for one in people if one[column] is not None]
    if known:
      ends = np.quantile(known, (0, 0.05, 0.95, 1))
      shown = " ".join(f"{end:.2f}" for end in ends)
      yield f"{column} of people: least, 5 %, 95 %, most {shown}"


def list_mistakes(scored: Scored) -> Iterator[str]:
  """Images that person and render are wrong about, or that are not safe."""
  for image, known in scored:
    where = f"{image.kind} {image.requirement} {image.member}"
    if image.kind not in labels.UNCLEAR:
      is_person = image.kind == labels.PERSON
      if (known["person_score"] >= MIN_PERSON) != is_person:
        yield f"person {known['person_score']:.2f} {where}"
    is_photo = labels.is_photo(image.kind)
    probability = known["render_photo_probability"]
    if is_photo is not None and (probability >= MIN_PHOTO) != is_photo:
      yield f"render {probability:.2f} {where}"
    if known["safety_nsfw"] > MAX_NSFW:
      yield f"safety {known['safety_nsfw']:.2f} {where}"


def _values(
  scored: Scored, kinds: Sequence[str] | None, column: str
) -> np.ndarray:
  return np.array(
    [
      known[column]
      for image, known in scored
      if kinds is None or image.kind in kinds
    ],
    float,
  )

"""The scorers with their models, on photographs of a package."""

import pickle

import cv2
import numpy as np
import pytest

from data_pipelines.common import images
from data_pipelines.curation.models import cache
from data_pipelines.curation.scorers.face import FaceScorer
from data_pipelines.curation.scorers.mask import MaskScorer
from data_pipelines.curation.scorers.person import PersonScorer
from data_pipelines.curation.scorers.render import RenderScorer
from data_pipelines.curation.scorers.safety import SafetyScorer
from data_pipelines.curation.scorers.text import TextScorer
from data_pipelines.open_source import open_source
from data_pipelines.synthetic import assets
from sapiens2_jax import config as config_lib
from sapiens2_jax import curate, validation
from tests.data_pipelines.curation import made

pytestmark = pytest.mark.slow
ALL = (
  *(PersonScorer, FaceScorer, MaskScorer),
  *(RenderScorer, SafetyScorer, TextScorer),
)
PHOTOGRAPHS = assets.Wheel(
  "scikit-image==0.26.0",
  "skimage/data/",
  ("astronaut.png", "chelsea.png", "grass.png"),
)


@pytest.fixture(scope="module", autouse=True)
def models():
  try:
    cache.fetch_models(cache.names_of())
  except ValueError as error:
    pytest.skip(str(error))


@pytest.fixture(scope="module")
def photographs():
  try:
    place = assets.find_wheel(PHOTOGRAPHS, assets.find_root(None) / "curation")
  except ValueError as error:
    pytest.skip(str(error))
  names = (*PHOTOGRAPHS.kept,)
  return [images.decode_image((place / name).read_bytes()) for name in names]


@pytest.fixture(scope="module")
def columns(photographs):
  """What all scorers say, in their order, by the names of the columns."""
  known = [{} for _ in photographs]
  for kind in ALL:
    scorer = pickle.loads(pickle.dumps(kind()))
    scorer.load()
    for earlier, found in zip(known, scorer.score(photographs, known)):
      assert list(found) == list(scorer.columns)
      earlier.update({f"{scorer.name}_{n}": v for n, v in found.items()})
  return known


def test_the_person_is_found_and_the_cat_is_not(columns):
  astronaut, cat, grass = columns
  assert astronaut["person_score"] > 0.95
  assert astronaut["person_short_side"] > 256
  for other in (cat, grass):
    assert other["person_score"] < 0.4
    assert other["person_boxes"] == [] and other["person_short_side"] == 0


def test_the_face_looks_about_into_the_camera(columns):
  astronaut, cat, _ = columns
  assert astronaut["face_count"] == 1
  left, top, right, bottom = astronaut["face_box"]
  assert left < 225 < right and top < 110 < bottom
  for angle in ("yaw", "pitch", "roll"):
    assert abs(astronaut[f"face_{angle}"]) < 30
  assert cat["face_count"] == 0 and cat["face_yaw"] is None


def test_the_mask_is_looked_at_inside_of_people_only(columns):
  astronaut, cat, _ = columns
  assert 0.5 < astronaut["mask_share"] <= 1
  assert cat["mask_share"] is None


def test_grass_is_no_text_and_written_text_is(columns, photographs):
  assert columns[2]["text_lines"] == 0
  written = photographs[2].copy()
  cv2.rectangle(written, (0, 200), (512, 300), (0, 0, 0), -1)
  cv2.putText(written, "SAMPLE 2026", (40, 270), 0, 2, (255, 255, 255), 4)
  scorer = TextScorer()
  scorer.load()
  (found,) = scorer.score([written], [{}])
  assert found["lines"] >= 1 and 6 <= found["characters"] <= 20
  assert 0.05 < found["share"] < 0.3
  whole = {"person_boxes": [0, 0, 512, 512]}
  (hidden,) = scorer.score([written], [whole])
  assert hidden["lines"] == 0


def test_these_photographs_are_safe(columns):
  assert all(known["safety_nsfw"] < 0.3 for known in columns)


def test_photographs_are_told_from_a_drawing(columns, photographs):
  for known in columns:
    assert known["render_photo_probability"] > 0.5
  drawing = np.full((400, 600, 3), 255, np.uint8)
  cv2.circle(drawing, (200, 180), 90, (240, 120, 40), -1)
  cv2.rectangle(drawing, (330, 100), (520, 330), (30, 90, 200), -1)
  scorer = RenderScorer()
  scorer.load()
  (found,) = scorer.score([drawing], [{}])
  assert found["photo_probability"] < 0.5


def test_the_same_images_give_the_same_numbers(columns, photographs):
  scorer = PersonScorer()
  scorer.load()
  again = scorer.score(photographs[:1], [{}])[0]
  first = {n: columns[0][f"person_{n}"] for n in scorer.columns}
  assert again == first


def test_a_setting_changes_the_fingerprint():
  assert PersonScorer().fingerprint() == PersonScorer().fingerprint()
  assert PersonScorer(min_score=0.7).fingerprint() != (
    PersonScorer().fingerprint()
  )


def test_a_curation_with_all_scorers_keeps_the_person(photographs, tmp_path):
  (tmp_path / "pool").mkdir()
  for name, pixels in zip(PHOTOGRAPHS.kept, photographs):
    cv2.imwrite(str(tmp_path / "pool" / name), pixels[..., ::-1])
  config = config_lib.load_config(
    "experiments/curation.py",
    ["quality.min_short_side=256", "person.min_short_side=256"],
    lambda config: validation.validate(config, 1, "curation"),
  )
  settings = curate.make_settings(config)
  manifest = made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  funnel = {line["stage"]: line for line in manifest["curation"]["funnel"]}
  assert funnel["person"]["rejected"] == {"person_score below 0.5": 2}
  for stage in ("face", "mask", "render", "safety", "text"):
    assert funnel[stage]["in"] == funnel[stage]["kept"] == 1
  record = open_source(tmp_path / "out" / "corpus")[0]
  assert record.name == "astronaut.png" and len(record.person_boxes) == 1
  assert record.scores["render_photo_probability"] > 0.5
  assert record.scores["mask_share"] > 0.5

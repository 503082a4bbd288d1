"""The cheap scorers, on pictures of which one knows what they must say."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_pipelines.curation.scorers import make_scorer
from tests.data_pipelines.curation import made


def score(name, *images):
  scorer = make_scorer(name)
  scorer.load()
  return scorer.score([np.asarray(image) for image in images], [{}] * 9)


def distance(a, b):
  return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def reencode(image, quality):
  options = [cv2.IMWRITE_JPEG_QUALITY, quality]
  _, data = cv2.imencode(".jpg", np.asarray(image)[..., ::-1], options)
  return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def test_flat_pictures_are_dark_or_bright_and_nothing_else():
  black, white = (np.full((64, 48, 3), level, np.uint8) for level in (0, 255))
  dark, bright = score("quality", black, white)
  assert (dark["dark"], dark["bright"], dark["brightness"]) == (1, 0, 0)
  assert (bright["dark"], bright["bright"]) == (0, 1)
  assert bright["brightness"] == 255
  for name in ("sharpness", "contrast", "colour"):
    assert dark[name] == bright[name] == 0
  assert dark["blocks"] == 1
  assert (dark["short_side"], dark["aspect"]) == (48, pytest.approx(4 / 3))


def test_blur_costs_sharpness_and_grey_has_no_colour():
  noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
  picture = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
  blurred = cv2.GaussianBlur(picture, (0, 0), 4)
  grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 8)
  sharp, soft, without = score("quality", picture, blurred, grey)
  assert soft["sharpness"] < 0.5 * sharp["sharpness"]
  assert without["colour"] == 0 < sharp["colour"]


def test_strong_jpeg_shows_its_blocks():
  picture = made.picture(1, 400, 304)
  fine, coarse = score("quality", reencode(picture, 97), reencode(picture, 3))
  assert fine["blocks"] < 1.2 < 2 < coarse["blocks"]


def test_blocks_of_what_is_too_small_are_not_known():
  (found,) = score("quality", made.picture(1, 23, 40))
  assert found["blocks"] is None


def test_a_mean_square_by_hand():
  board = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
  (found,) = score("quality", np.repeat(board[..., None], 3, axis=2))
  assert found["contrast"] == pytest.approx(127.5)
  assert found["sharpness"] == pytest.approx((4 * 255) ** 2)


def test_pdq_is_near_for_edits_and_far_for_others():
  picture = made.picture(1, 400, 300)
  half = picture.resize((150, 200), Image.BICUBIC)
  other = made.picture(2, 400, 300)
  same, small, jpeg, far = (
    found["pdq"]
    for found in score("hashes", picture, half, reencode(picture, 60), other)
  )
  assert len(same) == 32
  assert distance(same, small) <= 31 and distance(same, jpeg) <= 31
  assert distance(same, far) > 90


def test_pdq_says_where_there_is_little_to_see():
  flat = np.full((64, 64, 3), 90, np.uint8)
  empty, full = score("hashes", flat, made.picture(1))
  assert empty["pdq_quality"] < 50 <= full["pdq_quality"]


def test_an_unknown_scorer_lists_the_known_ones():
  with pytest.raises(ValueError, match="'beauty' is no scorer; known: quality"):
    make_scorer("beauty")

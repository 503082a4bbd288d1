"""Images out of what was fetched; frames of films are among them."""

import os

import cv2
import numpy as np
import pytest

from data_pipelines.curation.photographs import fetching, labels


def label(frame):
  where = "package==1", "pypi", "test", "film.avi", "rendered", "f" * 64
  return labels.Labelled(*where, frame)


def test_a_frame_of_a_film_is_the_one_that_was_labelled(tmp_path):
  film = tmp_path / "film.avi"
  code = cv2.VideoWriter_fourcc(*"MJPG")
  writer = cv2.VideoWriter(os.fspath(film), code, 10, (64, 48))
  for level in (30, 90, 150):
    writer.write(np.full((48, 64, 3), (level, 0, 0), np.uint8))  # Blue.
  writer.release()
  film.rename(tmp_path / ("f" * 64))
  for frame, level in ((0, 30), (2, 150)):
    pixels = fetching.read_image(tmp_path, label(frame))
    assert pixels.shape == (48, 64, 3)
    assert pixels.mean(axis=(0, 1)) == pytest.approx((0, 0, level), abs=8)
  with pytest.raises(ValueError, match="film.avi: frame 3 cannot be decoded"):
    fetching.read_image(tmp_path, label(3))

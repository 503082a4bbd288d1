"""Masks of rendered people, compared and counted."""

import numpy as np

from data_pipelines.curation.photographs import bodies


def test_masks_are_compared_pixel_by_pixel():
  truth, found = (np.zeros((10, 10), bool) for _ in range(2))
  truth[:, :6] = found[:, 3:8] = True
  made = bodies.compare(truth, found)
  assert made == {"true": 0.6, "found": 0.5, "iou": 3 / 8}
  assert bodies.compare(~truth & truth, ~truth & truth)["iou"] == 1.0


def test_rendered_people_are_counted():
  one = {"person_score": 0.9, "render_photo_probability": 0.2}
  one |= {"safety_nsfw": 0.6, "iou": 0.9, "true": 0.6, "found": 0.5}
  other = {"person_score": 0.4, "render_photo_probability": 0.7}
  other |= {"safety_nsfw": 0.1}
  lines = "\n".join(bodies.judge([{**one, "cut": True}, other]))
  for start in (
    *("person recall 1/2 = ", "rendered, recall 1/2 = "),
    *("safety left out 1/2 = ", "mask IoU of 0.8 or more 1/2 = "),
    *("share is off by: 5 %, median, 95 %: 0.10", "middle, seen 1/1 = "),
  ):
    assert start in lines

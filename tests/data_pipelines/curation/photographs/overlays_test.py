"""Text over images: how much of them it changes, and how it is counted."""

import numpy as np

from data_pipelines.curation.photographs import overlays

IMAGE = np.random.default_rng(0).integers(60, 200, (400, 500, 3), np.uint8)


def changed(overlay):
  drawn = overlays.draw(IMAGE, overlay)
  assert drawn.shape == IMAGE.shape and drawn.dtype == np.uint8
  np.testing.assert_array_equal(drawn, overlays.draw(IMAGE, overlay))
  return np.any(drawn != IMAGE, axis=2)


def test_larger_letters_cover_more_and_stay_where_they_belong():
  shares = [changed(overlays.Overlay(s)).mean() for s in (0.02, 0.04, 0.08)]
  assert 0 < shares[0] < shares[1] < shares[2] < 0.05
  line = changed(overlays.Overlay(0.08))
  assert not line[:300].any() and not line[:, 400:].any()
  caption = changed(overlays.Overlay(0.1, "caption"))
  assert not caption[:200].any() and caption.mean() > shares[2]
  assert not caption[:, :10].any() and not caption[:, -10:].any()
  tiled = changed(overlays.Overlay(0.05, "tiled"))
  for rows in np.array_split(tiled, 3):
    for part in np.array_split(rows, 2, axis=1):
      assert part.any()


def test_faint_letters_are_nearer_to_the_image():
  solid, faint = (
    overlays.draw(IMAGE, overlays.Overlay(0.05, "tiled", opacity))
    for opacity in (1.0, 0.35)
  )
  far, near = (np.abs(i.astype(int) - IMAGE).sum() for i in (solid, faint))
  assert 0 < near < far / 2


def test_what_is_read_and_what_is_left_out_are_counted():
  found = {"a": [{"lines": n, "share": s} for n, s in ((1, 0.2), (1, 0.05))]}
  found["a"].append({"lines": 0, "share": 0.0})
  lines = list(overlays.judge(found))
  assert lines[0].startswith("a: read 2/3 = ")
  assert lines[1].startswith("a: left out 1/3 = ")
  assert lines[2] == "  share, median 0.050"

"""Every keypoint is on a picture, where it is said to be."""

import pathlib

import numpy as np
from PIL import Image

from data_pipelines.synthetic import (
  assets,
  draw_keypoints,
  keypoints,
  makehuman,
)
from tests.data_pipelines.synthetic import rest_pose

REST = rest_pose.rest_vertices()
NO_FACES = np.zeros((0, 3), np.int32)
SURE, GUESS = (20, 90, 200), (235, 120, 0)


def _colors(picture):
  """Colours of the view, the list of names left out."""
  view = picture.convert("RGB").crop((0, 0, picture.height, picture.height))
  pixels = np.asarray(view).reshape(-1, 3).astype(int)
  return [(np.abs(pixels - color).sum(1) < 40).any() for color in (SURE, GUESS)]


def test_every_keypoint_is_on_a_picture():
  drawn = set()
  for panel in draw_keypoints.panels():
    drawn.update(panel.ids)
  assert drawn == set(range(308))


def test_guesses_have_their_own_color():
  panel = draw_keypoints.Panel("lids", [96, 97])
  picture = draw_keypoints.draw_panel(panel, REST, NO_FACES)
  assert _colors(picture) == [True, False]
  panel = draw_keypoints.Panel("lids", [105, 106])
  picture = draw_keypoints.draw_panel(panel, REST, NO_FACES)
  assert _colors(picture) == [False, True]


def test_views_lie_side_by_side_and_show_the_faces():
  # One triangle through the eyes and the chin, seen from the front.
  left, right, chin = (
    int(keypoints.keypoint_table().vertices[index, 0]) for index in (1, 2, 77)
  )
  face = np.array([[left, right, chin]], np.int32)
  panel = draw_keypoints.Panel("face", [1, 2, 77], ((0, 0), (180, 0)))
  picture = draw_keypoints.draw_panel(panel, REST, face)
  width = picture.height
  assert picture.width > 2 * width
  grey = np.asarray(picture.convert("L"))[width // 2]
  assert grey[width // 2] < 250  # From the front it is seen,
  assert grey[width + width // 2] > 250  # from behind it is not.


def test_command_writes_every_picture(tmp_path, monkeypatch):
  names = ("body", "helper-l-eye", "helper-r-eye")
  mesh = makehuman.BaseMesh(REST, REST[:, :2], dict.fromkeys(names, NO_FACES))
  files = assets.Assets(tmp_path, tmp_path, tmp_path)
  monkeypatch.setattr(assets, "find_assets", lambda directory: files)
  monkeypatch.setattr(makehuman, "read_mesh", lambda path: mesh)
  output = tmp_path / "new" / "pictures"
  assert draw_keypoints.main(["--output", str(output)]) == 0
  expected = {f"{panel.name}.png" for panel in draw_keypoints.panels()}
  assert {path.name for path in output.iterdir()} == expected
  for path in output.iterdir():
    assert Image.open(path).height == 720


def test_missing_assets_are_told(tmp_path, monkeypatch, capsys):
  def fail(directory):
    raise ValueError(f"{directory}: not there")

  monkeypatch.setattr(assets, "find_assets", fail)
  arguments = ["--output", str(tmp_path), "--assets", "/nowhere"]
  assert draw_keypoints.main(arguments) == 2
  assert capsys.readouterr().err == "draw_keypoints: /nowhere: not there\n"
  assert not list(pathlib.Path(tmp_path).iterdir())

"""The table holds every keypoint, mirrored exactly and in anatomical order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import vocabulary
from data_pipelines.synthetic import keypoints
from tests.data_pipelines.synthetic import rest_pose

REST = rest_pose.rest_vertices()
NAMES = vocabulary.keypoints()["names"]
FLIP = np.array(vocabulary.keypoints()["flip_indices"])
NUM_SKIN = 13380  # The body comes first in base.obj, then its helpers.
FINGERS = (
  "thumb",
  "forefinger",
  "middle_finger",
  "ring_finger",
  "pinky_finger",
)
MIDPOINTS = (
  3,
  1,
  4,
  None,
  5,
  2,
  6,
)  # Left to right in a picture; None: center.


@pytest.fixture(scope="module")
def at():
  """Name -> position in the rest pose."""
  return dict(zip(NAMES, keypoints.keypoint_positions(REST)))


def test_every_keypoint_has_a_finite_position():
  positions = keypoints.keypoint_positions(REST)
  assert positions.shape == (308, 3) and positions.dtype == np.float32
  assert np.isfinite(positions).all()
  assert keypoints.KEYPOINT_RADIUS.shape == (308,)
  assert keypoints.KEYPOINT_RADIUS.dtype == np.float32


def test_mirrored_keypoints_lie_at_the_mirror_image():
  positions = keypoints.keypoint_positions(REST)
  mirrored = positions[FLIP] * (-1, 1, 1)
  np.testing.assert_allclose(positions, mirrored, atol=1e-6)
  radius = keypoints.KEYPOINT_RADIUS
  np.testing.assert_array_equal(radius, radius[FLIP])


def test_unpaired_keypoints_lie_on_the_midline(at):
  for index in vocabulary.keypoints()["unpaired"]:
    assert abs(at[NAMES[index]][0]) < 1e-6, NAMES[index]


def test_left_is_the_persons_left(at):
  for name, point in at.items():
    if name.startswith(("left_", "l_")):
      assert point[0] > 0.005, name


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.5, 2), angle=st.floats(-3, 3), shift=st.floats(-5, 5))
def test_keypoints_move_with_the_body(scale, angle, shift):
  cos, sin = scale * np.cos(angle), scale * np.sin(angle)
  turn = np.array([[cos, 0, sin], [0, scale, 0], [-sin, 0, cos]])
  moved = keypoints.keypoint_positions(REST @ turn.T + shift)
  expected = keypoints.keypoint_positions(REST) @ turn.T + shift
  np.testing.assert_allclose(moved, expected, atol=1e-4)


def _to_skin(positions, skin):
  """Distances to the nearest vertex of the skin."""
  apart = positions[:, None] - skin[None]
  return np.linalg.norm(apart, axis=-1).min(1)


def test_radius_tells_how_deep_a_point_lies():
  positions = keypoints.keypoint_positions(REST)
  depth = _to_skin(positions, REST[:NUM_SKIN])
  is_in_eye = np.array(["iris" in name or "pupil" in name for name in NAMES])
  # Vertices of the shoulders lie 3.5 cm apart, most others 1 cm.
  is_too_deep = ~is_in_eye & (depth > keypoints.KEYPOINT_RADIUS + 0.018)
  assert not [NAMES[index] for index in np.flatnonzero(is_too_deep)]


def test_face_points_lie_on_the_face():
  skin = REST[:NUM_SKIN]
  face = vocabulary.keypoints()["groups"]["face238"]
  positions = keypoints.keypoint_positions(REST)[face]
  assert (_to_skin(positions, skin[skin[:, 1] > 0.6]) < 0.008).all()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("finger", FINGERS)
def test_joints_of_a_finger_lie_in_order(at, side, finger):
  joints = ["_third_joint", "2", "3", "4"]
  chain = [at[f"{side}_wrist"], *(at[f"{side}_{finger}{j}"] for j in joints)]
  away = [np.linalg.norm(point - chain[0]) for point in chain]
  assert away == sorted(away)
  bones = np.diff(chain, axis=0)
  for one, next_one in itertools.pairwise(bones[1:]):
    assert one @ next_one > 0  # The fingers of the rest pose are near straight.


@pytest.mark.parametrize("side", ["left", "right"])
def test_body_joints_lie_in_order(at, side):
  chain = ("ear", "acromion", "shoulder", "hip", "knee", "ankle", "heel")
  heights = [at[f"{side}_{joint}"][1] for joint in chain]
  assert heights == sorted(heights, reverse=True)
  outwards = [abs(at[f"{side}_{j}"][0]) for j in ("shoulder", "elbow", "wrist")]
  assert outwards == sorted(outwards)
  assert at["neck"][1] > at[f"{side}_shoulder"][1]
  assert at[f"{side}_olecranon"][2] < at[f"{side}_elbow"][2]
  assert at[f"{side}_cubital_fossa"][2] > at[f"{side}_elbow"][2]
  assert at[f"{side}_big_toe"][2] > at[f"{side}_small_toe"][2]
  assert abs(at[f"{side}_small_toe"][0]) > abs(at[f"{side}_big_toe"][0])
  assert at[f"{side}_heel"][2] < at[f"{side}_ankle"][2]


def _line(at, midpoint, center):
  """Points of a line that is numbered as lids and lips are."""
  names = [midpoint.format(n) if n else center for n in MIDPOINTS]
  return np.array([at[name] for name in names])


@pytest.mark.parametrize("side", ["l", "r"])
@pytest.mark.parametrize(
  "line",
  [
    *("upper_lash", "upper_eyelid", "upper_crease"),
    *("lower_lash", "lower_eyelid"),
  ],
)
def test_lid_lines_are_numbered_from_left_to_right(at, side, line):
  points = _line(
    at,
    f"{side}_midpoint_{{}}_of_{line}_line",
    f"{side}_centerpoint_of_{line}_line",
  )
  assert (np.diff(points[:, 0]) > 0.001).all()
  bend = points[3, 1] - points[[0, -1], 1].mean()
  assert bend > 0.001 if line.startswith("upper") else bend < -0.001


@pytest.mark.parametrize("side", ["l", "r"])
def test_lids_lie_around_the_eye(at, side):
  for lid in ("upper", "lower"):
    inner = at[f"{side}_inner_end_of_{lid}_lash_line"]
    outer = at[f"{side}_outer_end_of_{lid}_lash_line"]
    assert abs(inner[0]) < abs(at[f"{side}_center_of_iris"][0]) < abs(outer[0])
  heights = [
    at[f"{side}_centerpoint_of_{line}_line"][1]
    for line in ("upper_crease", "upper_lash", "lower_lash")
  ]
  heights.insert(2, at[f"{side}_center_of_pupil"][1])
  assert heights == sorted(heights, reverse=True)
  for lid in ("upper", "lower"):  # The lid's inner edge lies behind.
    lash = at[f"{side}_centerpoint_of_{lid}_lash_line"]
    assert at[f"{side}_centerpoint_of_{lid}_eyelid_line"][2] < lash[2]


@pytest.mark.parametrize("side", ["l", "r"])
@pytest.mark.parametrize("part, radius", [("iris", 0.0054), ("pupil", 0.0027)])
def test_iris_and_pupil_are_clocks_as_a_viewer_reads_them(
  at, side, part, radius
):
  center = at[f"{side}_center_of_{part}"]
  hours = ("3", "midpoint_1", "12", "midpoint_4")
  hours += ("9", "midpoint_3", "6", "midpoint_2")
  for eighth, hour in enumerate(hours):
    hand = at[f"{side}_border_of_{part}_{hour}"] - center
    angle = eighth * np.pi / 4
    expected = radius * np.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(hand[:2], expected, atol=2e-4)


@pytest.mark.parametrize(
  "lip, center",
  [
    ("upper_outer", "center_of_cupid_bow"),
    ("upper_inner", "center_of_upper_inner_lip"),
    ("lower_inner", "center_of_lower_inner_lip"),
    ("lower_outer", "center_of_lower_outer_lip"),
  ],
)
def test_lip_lines_are_numbered_from_left_to_right(at, lip, center):
  points = _line(at, f"midpoint_{{}}_of_{lip}_lip", center)
  kind = lip.split("_")[1]
  ends = [at[f"{side}_{kind}_corner_of_mouth"] for side in "rl"]
  across = [ends[0][0], *points[:, 0], ends[1][0]]
  assert (np.diff(across) > 0.002).all()


def test_lip_lines_lie_above_each_other(at):
  lips = ("upper_outer", "upper_inner", "lower_inner", "lower_outer")
  for number in range(1, 7):
    heights = [at[f"midpoint_{number}_of_{lip}_lip"][1] for lip in lips]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("side, numbers", [("l", (2, 1, 3)), ("r", (3, 1, 2))])
def test_brows_run_outwards_above_the_eye(at, side, numbers):
  end = at[f"end_of_{side}_eyebrow"]
  for edge in ("upper", "lower"):
    start = at[f"{edge}_startpoint_of_{side}_eyebrow"]
    middles = [at[f"{edge}_midpoint_{n}_of_{side}_eyebrow"] for n in numbers]
    outwards = [abs(point[0]) for point in (start, *middles, end)]
    assert (np.diff(outwards) > 0.003).all()
  crease = at[f"{side}_centerpoint_of_upper_crease_line"][1]
  for number in numbers:
    upper = at[f"upper_midpoint_{number}_of_{side}_eyebrow"]
    lower = at[f"lower_midpoint_{number}_of_{side}_eyebrow"]
    assert 0.002 < upper[1] - lower[1] < 0.01
    assert lower[1] > crease


def test_middle_of_the_face_reads_downwards(at):
  names = (
    "center_of_glabella",
    "center_of_nose_root",
    "midpoint_2_of_nose_bridge",
    "midpoint_1_of_nose_bridge",
    "midpoint_3_of_nose_bridge",
    "tip_of_nose_bridge",
    "tip_of_nose",
    "bottom_center_of_nose",
    "center_of_cupid_bow",
    "center_of_lower_outer_lip",
    "center_of_labiomental_groove",
    "tip_of_chin",
    "neck",
  )
  heights = [at[name][1] for name in names]
  assert heights == sorted(heights, reverse=True)
  # Nothing of the face lies further forward than the tip of the nose.
  assert max(at, key=lambda name: at[name][2] * (at[name][1] > 0.6)) in (
    "nose",
    "tip_of_nose",
  )


@pytest.mark.parametrize("side", ["l", "r"])
def test_nostrils_lie_between_septum_and_wing(at, side):
  inner, outer, upper = (
    at[f"{corner}_corner_of_{side}_nostril"]
    for corner in ("inner", "outer", "upper")
  )
  wing = at[f"{side}_outer_corner_of_nose"]
  assert abs(inner[0]) < abs(upper[0]) < abs(outer[0]) < abs(wing[0])
  assert upper[1] > max(inner[1], outer[1])
  assert inner[1] > at["bottom_center_of_nose"][1]


@pytest.mark.parametrize("side, swap", [("l", {}), ("r", {2: 8, 8: 2})])
def test_helix_runs_from_the_front_over_the_top_to_the_lobe(at, side, swap):
  helix = np.array(
    [
      at[f"{side}_point_{swap.get(number, number)}_of_inner_helix"]
      for number in range(1, 9)
    ]
  )
  # Up, backwards, down: around the concha without turning back.
  around = helix[:, 1:] - at[f"{side}_start_point_of_crus_of_helix"][1:]
  angles = np.unwrap(np.arctan2(around[:, 0], around[:, 1]))
  assert (np.diff(angles) > 0.3).all()
  top, bottom = helix[:, 1].max(), helix[-1, 1]
  assert top > at[f"{side}_top_end_of_superior_crus"][1]
  assert bottom > at[f"{side}_tip_of_ear_lobe"][1]


@pytest.mark.parametrize("side", ["l", "r"])
def test_parts_of_the_ear_lie_in_order(at, side):
  def heights(*names):
    return [at[f"{side}_{name}"][1] for name in names]

  for chain in (
    heights(
      *("top_end_of_superior_crus", "start_of_antihelix"),
      *("midpoint_2_of_antihelix", "midpoint_1_of_antihelix"),
      *("midpoint_3_of_antihelix", "end_of_antihelix", "tip_of_ear_lobe"),
    ),
    heights("top_point_of_tragus", "protruding_point_of_tragus"),
    heights("protruding_point_of_tragus", "bottom_point_of_tragus"),
    heights("top_connecting_point_of_helix", "top_point_of_tragus"),
    heights("start_point_of_crus_of_helix", "deepest_point_of_concha"),
    heights("end_of_antihelix", "highest_point_of_antitragus"),
    heights("bottom_connecting_point_of_ear_lobe", "tip_of_ear_lobe"),
  ):
    assert chain == sorted(chain, reverse=True)
  rim = [at[f"{side}_{n}"][2] for n in ("top_end_of_inferior_crus",)]
  rim += [at[f"{side}_midpoint_1_of_inferior_crus"][2]]
  rim += [at[f"{side}_start_of_antihelix"][2]]
  assert rim == sorted(rim, reverse=True)  # From the front backwards.


def test_vertices_of_another_mesh_are_refused():
  with pytest.raises(ValueError, match=r"shape \(13718, 3\).*\(19158, 3\)"):
    keypoints.keypoint_positions(np.zeros((13718, 3)))


def _table(**changes):
  point = {"vertices": [3, 5], "radius": 0.0}
  nose = {k: v for k, v in (point | changes).items() if v != "absent"}
  return {"num_vertices": 9, "points": {"nose": nose, "neck": point}}


def _parse(told):
  return keypoints.parse_keypoint_table(told, ["nose", "neck"])


def test_weights_default_to_the_mean():
  table = _parse(_table())
  np.testing.assert_array_equal(table.weights, [[0.5, 0.5]] * 2)
  table = _parse(_table(weights=[0.25, 0.75], doubt="why", radius=0.05))
  np.testing.assert_array_equal(table.weights, [[0.25, 0.75], [0.5, 0.5]])
  np.testing.assert_array_equal(table.radius, np.float32([0.05, 0]))
  assert table.doubts == {"nose": "why"}


def test_a_point_the_mesh_cannot_carry_is_nan(monkeypatch):
  table = _parse(_table(vertices=None, reason="no nose"))
  monkeypatch.setattr(keypoints, "keypoint_table", lambda: table)
  positions = keypoints.keypoint_positions(np.ones((9, 3)))
  assert np.isnan(positions[0]).all() and (positions[1] == 1).all()


def test_names_must_be_the_vocabularys():
  told = _table()
  told["points"]["mose"] = told["points"].pop("nose")
  with pytest.raises(ValueError, match=r"missing \['nose'\], unknown \['mose'"):
    _parse(told)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"hue": 1}, r"nose: unknown fields \['hue'\]"),
    ({"radius": -0.1}, "nose: radius -0.1; expected metres from 0 to 0.2"),
    ({"radius": 50}, "nose: radius 50; expected metres"),
    ({"radius": "absent"}, "nose: radius None; expected metres"),
    ({"vertices": None}, "nose: has neither vertices nor a reason"),
    ({"vertices": []}, r"vertices \[\]; expected whole numbers below 9"),
    ({"vertices": [9]}, r"vertices \[9\]; expected whole numbers below 9"),
    ({"vertices": [-1]}, r"vertices \[-1\]; expected whole numbers below 9"),
    ({"vertices": [1.0]}, r"vertices \[1.0\]; expected whole numbers"),
    ({"vertices": [3, 3]}, r"vertices \[3, 3\] name one twice"),
    ({"weights": [1]}, r"weights \[1\]; expected 2 numbers above 0"),
    ({"weights": [0, 1]}, r"weights \[0, 1\]; expected 2 numbers above 0"),
    ({"weights": [0.5, 0.6]}, "weights add up to 1.100000; expected 1"),
  ],
)
def test_a_bad_point_is_named(changes, message):
  with pytest.raises(ValueError, match=message):
    _parse(_table(**changes))

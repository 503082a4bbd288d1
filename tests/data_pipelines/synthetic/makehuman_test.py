import gzip
import json

import numpy as np
import pytest

from data_pipelines.synthetic import makehuman

OBJ = """# comment
v 0 0 0
v 10 0 0
v 10 20 0
v 0 20 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
g body
f 1/1 2/2 3/3 4/4
g joint-a
f 4/4 3/3 2/2 1/1
"""


@pytest.fixture
def mesh(tmp_path):
  (tmp_path / "base.obj").write_text(OBJ)
  return makehuman.read_mesh(tmp_path / "base.obj")


def test_a_mesh_is_read_in_metres_with_quads_cut_in_two(mesh):
  np.testing.assert_allclose(mesh.vertices[2], (1, 2, 0))
  np.testing.assert_allclose(mesh.uv[2], (1, 1))
  assert mesh.triangles["body"].tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("name", ["a.target", "a.target.gz"])
def test_a_target_says_which_vertices_move_how_far(tmp_path, name):
  opened = gzip.open if name.endswith("gz") else open
  with opened(tmp_path / name, "wt") as file:
    file.write("# comment\n3 .5 -1 0\n7 0 0 2\n")
  vertices, moves = makehuman.read_target(tmp_path / name)
  assert vertices.tolist() == [3, 7]
  np.testing.assert_allclose(moves, [[0.05, -0.1, 0], [0, 0, 0.2]])


def test_parents_come_before_their_children(tmp_path, mesh):
  cube = {"strategy": "CUBE", "cube_name": "joint-a"}
  one = {"strategy": "VERTEX", "vertex_index": 2}
  bones = {
    "hand": {"parent": "arm", "head": one},
    "arm": {"parent": "", "head": cube},
  }
  (tmp_path / "rig.json").write_text(json.dumps(bones))
  rig = makehuman.read_rig(tmp_path / "rig.json", mesh)
  assert list(rig) == ["arm", "hand"]
  assert rig["arm"].head.tolist() == [0, 1, 2, 3]


def test_an_unknown_way_to_place_a_bone_is_an_error(tmp_path, mesh):
  bones = {"arm": {"parent": "", "head": {"strategy": "ODD"}}}
  (tmp_path / "rig.json").write_text(json.dumps(bones))
  with pytest.raises(ValueError, match="arm: strategy 'ODD'.*CUBE"):
    makehuman.read_rig(tmp_path / "rig.json", mesh)

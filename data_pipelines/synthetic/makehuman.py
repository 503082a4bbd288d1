"""Readers of MakeHuman's files: mesh, targets (changes of shape), rig, weights.

Lengths in the files are decimetres; everything here returns metres.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib

import numpy as np

_METRES = 0.1
Weights = dict[str, tuple[np.ndarray, np.ndarray]]  # bone -> vertices, weights


@dataclasses.dataclass(frozen=True, eq=False)
class BaseMesh:
  """base.obj."""

  vertices: np.ndarray  # (v, 3) float32 metres, in the standard pose
  uv: np.ndarray  # (v, 2) float32; at a seam of the atlas, of one of its sides
  triangles: dict[str, np.ndarray]  # group -> (f, 3) int32, quads cut in two


@dataclasses.dataclass(frozen=True, eq=False)
class Bone:
  """A bone of the rig."""

  parent: str  # its parent's name, "" at the root
  head: np.ndarray  # vertices whose mean is the joint it turns about


def read_mesh(path: pathlib.Path) -> BaseMesh:
  """Reads base.obj."""
  vertices, atlas = [], []
  quads: dict[str, list] = {}
  group = ""
  for line in path.read_text(encoding="utf-8").splitlines():
    kind, _, rest = line.partition(" ")
    if kind == "v":
      vertices.append(rest.split())
    elif kind == "vt":
      atlas.append(rest.split()[:2])
    elif kind == "g":
      group = rest.strip()
    elif kind == "f":
      corners = [corner.split("/") for corner in rest.split()]
      quads.setdefault(group, []).append(corners)
  positions = np.array(vertices, np.float64) * _METRES
  uv = np.zeros((len(positions), 2), np.float32)
  triangles = {}
  for name, corners in quads.items():
    indices = np.array(corners, np.int64) - 1
    uv[indices[..., 0]] = np.array(atlas, np.float64)[indices[..., 1]]
    quad = indices[..., 0]
    halves = np.stack([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]], 1)
    triangles[name] = halves.reshape(-1, 3).astype(np.int32)
  return BaseMesh(positions.astype(np.float32), uv, triangles)


def read_target(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Reads a target.

  Returns:
    (n,) int64 vertices and (n, 3) float32 metres by which it moves them.
  """
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rt", encoding="utf-8") as file:
    lines = [line for line in file if line.strip() and line[0] != "#"]
  table = np.array("".join(lines).split(), np.float64).reshape(-1, 4)
  moves = (table[:, 1:] * _METRES).astype(np.float32)
  return table[:, 0].astype(np.int64), moves


def read_rig(path: pathlib.Path, mesh: BaseMesh) -> dict[str, Bone]:
  """Reads a rig; parents come before their children.

  Raises:
    ValueError: a bone's place is told in a way that is not known here.
  """
  told = json.loads(path.read_text(encoding="utf-8"))
  bones: dict[str, Bone] = {}
  while len(bones) < len(told):
    for name, bone in told.items():
      is_next = bone["parent"] == "" or bone["parent"] in bones
      if name not in bones and is_next:
        bones[name] = Bone(bone["parent"], _head(name, bone["head"], mesh))
  return bones


def _head(name: str, head: dict, mesh: BaseMesh) -> np.ndarray:
  match head["strategy"]:
    case "CUBE":
      return np.unique(mesh.triangles[head["cube_name"]])
    case "VERTEX":
      return np.array([head["vertex_index"]])
    case "MEAN":
      return np.array(head["vertex_indices"])
  raise ValueError(
    f"rig: {name}: strategy {head['strategy']!r}; known are CUBE, VERTEX, MEAN."
  )


def read_weights(path: pathlib.Path) -> Weights:
  """Reads skinning weights."""
  told = json.loads(path.read_text(encoding="utf-8"))["weights"]
  weights = {}
  for bone, pairs in told.items():
    table = np.array(pairs, np.float64).reshape(-1, 2)
    weights[bone] = table[:, 0].astype(np.int64), table[:, 1]
  return weights

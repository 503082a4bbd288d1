"""MakeHuman's body: mesh, changes of shape, bones and skinning weights.

Compiled once from MakeHuman's files into one .npz beside them (about 10 s);
from then on a process has it in a fraction of a second.
"""

from __future__ import annotations

import dataclasses
import pathlib

import cv2
import numpy as np

from data_pipelines.common.files import whole_file
from data_pipelines.synthetic import assets, makehuman, skeleton

_CACHE = "anatomy-1.npz"  # Count on when what is in it changes.
MOVE_UNIT = 1e-4  # Metres; the files have no finer steps.
_RIG = "mpfb2/rigs/standard"
_GROUPS = {
  "body": "body",
  "tights": "helper-tights",
  "skirt": "helper-skirt",
  "hair": "helper-hair",
  "left_eye": "helper-l-eye",
  "right_eye": "helper-r-eye",
  "upper_teeth": "helper-upper-teeth",
  "lower_teeth": "helper-lower-teeth",
  "tongue": "helper-tongue",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Anatomy:
  """MakeHuman's base mesh with all that changes it; v is 19,158."""

  vertices: np.ndarray  # (v, 3) float32 metres; x to its left, y up, z forward
  uv: np.ndarray  # (v, 2) float32
  triangles: dict[str, np.ndarray]  # group -> (f, 3) int32; body, hair, ...
  targets: dict[str, int]  # name -> index into the next three
  target_starts: np.ndarray  # (t + 1,) int64, where a target's moves begin
  target_vertices: np.ndarray  # (n,) uint16
  target_moves: np.ndarray  # (n, 3) int16, in `MOVE_UNIT`
  head_starts: np.ndarray  # (bones + 1,) int64, where a bone's vertices begin
  head_vertices: np.ndarray  # (m,) int64; their mean is the bone's joint
  weight_starts: np.ndarray  # (v + 1,) int64, where a vertex's weights begin
  weight_bones: np.ndarray  # (w,) uint8, indices into `skeleton.BONES`
  weights: np.ndarray  # (w,) float32, of a vertex adding up to 1
  lips: np.ndarray  # (v,) float32, 1 on the lips, 0 elsewhere


def load_anatomy(files: assets.Assets) -> Anatomy:
  """Reads the anatomy, compiled on the first call."""
  cache = files.directory / _CACHE
  if not cache.exists():
    with whole_file(cache) as file:
      np.savez(file, **_compile(files))
  with np.load(cache) as stored:
    arrays = {name: stored[name] for name in stored.files}
  triangles = {name: arrays.pop(f"triangles/{name}") for name in _GROUPS}
  names = arrays.pop("target_names")
  targets = {str(name): place for place, name in enumerate(names)}
  return Anatomy(triangles=triangles, targets=targets, **arrays)


def _compile(files: assets.Assets) -> dict[str, np.ndarray]:
  mesh = makehuman.read_mesh(files.base_mesh)
  rig = makehuman.read_rig(files.body / _RIG / "rig.default.json", mesh)
  weights = makehuman.read_weights(files.body / _RIG / "weights.default.json")
  heads = [rig[bone].head for bone in skeleton.BONES]
  return {
    "vertices": mesh.vertices,
    "uv": mesh.uv,
    **{f"triangles/{k}": mesh.triangles[v] for k, v in _GROUPS.items()},
    **_compile_targets(files.body),
    "head_starts": _starts(heads),
    "head_vertices": np.concatenate(heads),
    **_compile_weights(rig, weights, len(mesh.vertices)),
    "lips": _read_lips(files.body, mesh),
  }


def _compile_targets(body: pathlib.Path) -> dict[str, np.ndarray]:
  targets = {}
  for path in sorted(body.rglob("*.target*")):
    name = f"{path.parent.name}/{path.name.partition('.')[0]}"
    targets[name] = makehuman.read_target(path)
  vertices = [vertices for vertices, _ in targets.values()]
  moves = [np.rint(moves / MOVE_UNIT) for _, moves in targets.values()]
  return {
    "target_names": np.array(list(targets)),
    "target_starts": _starts(vertices),
    "target_vertices": np.concatenate(vertices).astype(np.uint16),
    "target_moves": np.concatenate(moves).astype(np.int16),
  }


def _compile_weights(
  rig: dict[str, makehuman.Bone], weights: makehuman.Weights, num_vertices: int
) -> dict[str, np.ndarray]:
  """Weights of the bones we move; the others hand theirs to a parent."""
  table = np.zeros((num_vertices, len(skeleton.BONES)))
  for bone, (vertices, values) in weights.items():
    while bone not in skeleton.BONES:
      bone = rig[bone].parent
    np.add.at(table[:, skeleton.BONES.index(bone)], vertices, values)
  table[table < 0.005] = 0
  table /= table.sum(1, keepdims=True)
  vertices, bones = np.nonzero(table)
  counts = np.bincount(vertices, minlength=num_vertices)
  return {
    "weight_starts": np.concatenate([[0], np.cumsum(counts)]),
    "weight_bones": bones.astype(np.uint8),
    "weights": table[vertices, bones].astype(np.float32),
  }


def _read_lips(body: pathlib.Path, mesh: makehuman.BaseMesh) -> np.ndarray:
  path = body / "mpfb2/textures/mpfb_lips.jpg"
  mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
  if mask is None:
    raise ValueError(f"{path}: not an image.")
  height, width = mask.shape
  x = np.rint(mesh.uv[:, 0] * (width - 1)).astype(int).clip(0, width - 1)
  y = np.rint((1 - mesh.uv[:, 1]) * (height - 1)).astype(int)
  lips = mask[y.clip(0, height - 1), x] / np.float32(255)
  is_body = np.isin(np.arange(len(lips)), mesh.triangles["body"])
  return np.where(is_body, lips, 0).astype(np.float32)


def _starts(pieces: list[np.ndarray]) -> np.ndarray:
  return np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])

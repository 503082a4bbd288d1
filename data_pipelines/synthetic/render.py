"""A scene to an image and all that is known about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines.corpus import labels as labels_lib
from data_pipelines.synthetic import raster as raster_lib
from data_pipelines.synthetic import scene as scene_lib
from data_pipelines.synthetic import shading
from data_pipelines.synthetic.compiling import compiled
from data_pipelines.synthetic.materials import Materials
from data_pipelines.synthetic.mesh import SURFACES

# Of the normals of labels: x right, y up, z towards the camera.
_LABEL_AXES = np.array([1, -1, -1])
_LEAST_PIXELS = 64  # of a person who is listed
_LEAST_SHARE = 5e-4  # of the image
_IN_FRONT = 0.012  # metres in front of a keypoint that do not hide it
_SLANT = 1.5  # pixels: a surface may be slanted as much


def render(
  scene: scene_lib.Scene, materials: Sequence[Materials], background: np.ndarray
) -> tuple[np.ndarray, labels_lib.Labels]:
  """Renders people before a background.

  The image's light knows shadows and folds of cloth; the labels are those of
  the triangles at the pixels' centres. Alpha is the covered part of a pixel.

  Args:
    scene: from `scene.draw_scene`.
    materials: of each person.
    background: (h, w, 3) uint8 sRGB; its size is the image's.

  Returns:
    The image, (h, w, 3) uint8 sRGB, and its labels. People of whom less than
    64 pixels or 0.05 % of the image are seen are not listed.
  """
  looks = shading.stack_looks(materials)
  surfaces, points, projected = _join(scene, materials, looks.noise)
  size, intrinsics = background.shape[:2], scene.camera.intrinsics
  raster = raster_lib.rasterise(projected, surfaces.triangles, size)
  lamps = _aim_lamps(scene, points, surfaces.triangles)
  shaded = shading.shade(raster, intrinsics, surfaces, looks, lamps, background)
  alpha = raster_lib.find_coverage(projected, surfaces.triangles, raster.ids)
  image = _composite(shaded.image, background, alpha)
  labels = labels_lib.Labels(
    people=_list_people(scene, shaded.owners, raster.depth),
    alpha=alpha,
    parts=shaded.parts,
    normal=shaded.normal,
    depth=raster.depth,
    intrinsics=intrinsics,
    albedo=shaded.albedo,
  )
  return image, labels


def _join(
  scene: scene_lib.Scene, materials: Sequence[Materials], noise: np.ndarray
) -> tuple[shading.Surfaces, np.ndarray, np.ndarray]:
  """All people as one mesh; its points before the camera, and projected."""
  people, camera = scene.people, scene.camera

  def joined(name):
    return np.concatenate([getattr(mesh, name) for mesh in people])

  starts = np.cumsum([0, *(len(mesh.vertices) for mesh in people[:-1])])
  points = camera.see(joined("vertices"))
  projected = raster_lib.project(points, camera.intrinsics)
  turned = (camera.rotation.T * _LABEL_AXES).astype(np.float32)
  triangles = np.concatenate(
    [mesh.triangles + start for mesh, start in zip(people, starts)]
  ).astype(np.int32)
  corners = np.empty((len(points), 9), np.float32)
  for mesh, look, start in zip(people, materials, starts):
    own = corners[start : start + len(mesh.rest)]
    shading.fill_corners(
      mesh.normals, mesh.rest, turned, look.shift, noise, own
    )
  sizes = [len(mesh.triangles) for mesh in people]
  owners = np.repeat(np.arange(len(people), dtype=np.int32), sizes)
  surfaces = shading.Surfaces(
    triangles=triangles,
    corners=corners,
    kinds=owners * len(SURFACES) + joined("surfaces"),
    parts=joined("parts"),
    owners=owners,
    is_reversed=raster_lib.find_reversed(projected, triangles),
  )
  return surfaces, points, projected


def _aim_lamps(
  scene: scene_lib.Scene, points: np.ndarray, triangles: np.ndarray
) -> shading.Lamps:
  lights = scene.lights
  turned = scene.camera.rotation.T
  directions = lights.directions @ turned
  ambient = [
    turned[1] * _LABEL_AXES,
    (lights.sky + lights.ground) / 2,
    (lights.sky - lights.ground) / 2,
  ]
  soft = lights.softness[:, None]
  wraps = np.concatenate([soft, np.ones_like(soft)], 1) / (1 + soft)
  return shading.Lamps(
    np.array(ambient, np.float32),
    (directions * _LABEL_AXES).astype(np.float32),
    lights.colors.astype(np.float32),
    wraps.astype(np.float32),
    *shading.cast_shadows(points, triangles, directions[0]),
  )


def _composite(
  people: np.ndarray, background: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
  """Mixes both where a pixel is covered in part; elsewhere it is `people`."""
  image = people.copy()
  partly = np.flatnonzero((alpha > 0) & (alpha < 255))
  rows, cols = np.divmod(partly, alpha.shape[1])
  _mix(rows, cols, people, background, alpha, image)
  return image


@compiled
def _mix(rows, cols, people, background, alpha, image):
  """A pixel whose own centre is free takes its most covered neighbour."""
  height, width = alpha.shape
  for row, col in zip(rows, cols):
    fraction = np.int32(alpha[row, col])
    from_row, from_col = row, col
    if fraction < 128:
      for near_row in range(max(row - 1, 0), min(row + 2, height)):
        for near_col in range(max(col - 1, 0), min(col + 2, width)):
          if alpha[near_row, near_col] > alpha[from_row, from_col]:
            from_row, from_col = near_row, near_col
      if alpha[from_row, from_col] < 128:
        continue
    for k in range(3):
      above = np.int32(people[from_row, from_col, k])
      below = np.int32(background[row, col, k])
      image[row, col, k] = below + ((above - below) * fraction + 127) // 255


def _list_people(
  scene: scene_lib.Scene, owners: np.ndarray, depth: np.ndarray
) -> tuple[labels_lib.Person, ...]:
  """Those who are seen, the largest first."""
  least = max(_LEAST_PIXELS, _LEAST_SHARE * owners.size)
  people = []
  for number, mesh in enumerate(scene.people):
    seen = owners == number + 1
    if np.count_nonzero(seen) < least:
      continue
    rows, cols = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    box = (rows[0], cols[0], np.ptp(rows) + 1, np.ptp(cols) + 1)
    keypoints = find_keypoints(
      scene.camera, mesh.keypoints, mesh.keypoint_radius, depth
    )
    people.append(labels_lib.Person(tuple(map(float, box)), keypoints))
  people.sort(key=lambda person: -person.box[2] * person.box[3])
  return tuple(people)


def find_keypoints(
  camera: scene_lib.Camera,
  points: np.ndarray,
  radius: np.ndarray,
  depth: np.ndarray,
) -> np.ndarray:
  """Projects keypoints and tells whether something is in front of them.

  Args:
    camera: that saw `depth`.
    points: (k, 3) metres in the world; NaN for those that are not known.
    radius: (k,) metres below the surface.
    depth: (h, w) metres, 0 where nothing is.

  Returns:
    (k, 3) float32: x and y in pixels; and 2 visible, 1 hidden. All three are
    0 for points outside of the image or not known.
  """
  seen = camera.see(points)
  projected = raster_lib.project(seen, camera.intrinsics)
  cells = np.rint(projected[:, 1::-1])
  inside = np.all((cells >= 0) & (cells < depth.shape), axis=1)
  rows, cols = np.where(inside[:, None], cells, 0).astype(int).T
  allowed = _IN_FRONT + radius + _SLANT * seen[:, 2] / camera.intrinsics[0, 0]
  surface = depth[rows, cols]
  visible = (surface == 0) | (surface > seen[:, 2] - allowed)
  out = np.empty((len(points), 3), np.float32)
  out[:, :2] = projected[:, :2]
  out[:, 2] = np.where(visible, 2, 1)
  out[~inside] = 0
  return out

"""Synthetic people: images a second, and our rasteriser beside OpenCV's.

Run:    python benchmarks/synthetic.py [--assets DIR] [--images 40]

One core, 1024 x 768. The peer gets the same triangles of the same scenes and
has to give the same answers: which triangle, how far, and where on it; with
`cv2.triangleRasterize` that takes colours of corners that no two triangles
share. They take turns. Times are those of the thread's own work (CPU time):
waiting for other processes of the machine does not count.
"""

import argparse
import json
import os
import statistics
import time

import cv2
import numpy as np
import simplejpeg

from data_pipelines.corpus import labels as labels_lib
from data_pipelines.synthetic import (
  backgrounds,
  corpus,
  film,
  materials,
  raster,
  render,
  samples,
  scene,
)

SIZE = (1024, 768)
STAGES = ("people", "scene", "background", "render", "film", "jpeg", "labels")
WARM_UP = 3  # images at most, whose times do not count


def stage_times(inputs, index: int) -> tuple[dict, scene.Scene]:
  """Seconds of each step of `samples.make_record`, and the scene."""
  people, photographs = inputs
  rng = np.random.default_rng([0, index])
  marks = [time.thread_time()]

  def mark() -> None:
    marks.append(time.thread_time())

  meshes = [people.sample_person(rng) for _ in range(scene.draw_count(rng))]
  mark()
  drawn = scene.draw_scene(rng, meshes, SIZE)
  looks = [materials.draw_materials(rng, mesh) for mesh in meshes]
  mark()
  background = backgrounds.draw_background(rng, SIZE, photographs)
  mark()
  image, labels = render.render(drawn, looks, background)
  mark()
  image = film.expose(rng, image)
  mark()
  simplejpeg.encode_jpeg(image, quality=95, colorsubsampling="444")
  mark()
  labels_lib.encode_labels(labels)
  mark()
  seconds = dict(zip(STAGES, np.diff(marks).tolist()))
  seconds["covered"] = float(labels.mask.mean())
  return seconds, drawn


def whole_time(inputs, index: int) -> float:
  start = time.thread_time()
  samples.make_record(*inputs, SIZE, seed=0, index=index)
  return time.thread_time() - start


class Peer:
  """`cv2.triangleRasterize`, with triangle and place as colours."""

  def __init__(self):
    shading = cv2.TriangleRasterizeSettings()
    shading = shading.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    self._settings = shading.setCullingMode(cv2.RASTERIZE_CULLING_NONE)

  def draw(self, points: np.ndarray, triangles: np.ndarray, focal: float):
    """Points as `Camera.see` gives them; returns colours and depth."""
    corners = (points * [1, -1, -1]).astype(np.float32)[triangles]
    colors = np.zeros((len(triangles), 3, 3), np.float32)
    colors[..., 0] = (np.arange(len(triangles))[:, None] + 1) / 2**17
    colors[:, 1, 1] = colors[:, 2, 2] = 1
    return cv2.triangleRasterize(
      corners.reshape(-1, 3),
      np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3),
      colors.reshape(-1, 3),
      np.zeros((*SIZE, 3), np.float32),
      np.full(SIZE, 100.0, np.float32),
      np.eye(4, dtype=np.float32),
      2 * np.arctan(SIZE[0] / 2 / focal),
      raster.NEAR,
      100.0,
      self._settings,
    )


def compare_rasters(drawn: scene.Scene, peer: Peer) -> dict:
  """Seconds of both for one scene, and how many pixels they agree on."""
  points = [drawn.camera.see(mesh.vertices) for mesh in drawn.people]
  starts = np.cumsum([0, *map(len, points[:-1])])
  triangles = np.concatenate(
    [mesh.triangles + start for mesh, start in zip(drawn.people, starts)]
  ).astype(np.int32)
  points = np.concatenate(points)
  # The peer knows one focal length only, and the middle as centre.
  focal = float(drawn.camera.intrinsics[0, 0])
  intrinsics = np.diag([focal, focal, 1])
  intrinsics[:2, 2] = (np.array(SIZE[::-1]) - 1) / 2
  start = time.thread_time()
  projected = raster.project(points, intrinsics)
  found = raster.rasterise(projected, triangles, SIZE)
  ours = time.thread_time() - start
  start = time.thread_time()
  colors, _ = peer.draw(points, triangles, focal)
  theirs = time.thread_time() - start
  ids = np.rint(colors[..., 0] * 2**17).astype(int) - 1
  return {
    "ours": ours,
    "peer": theirs,
    "equal": float((ids == found.ids).mean()),
    "triangles": len(triangles),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--assets", help="where bodies and photographs are kept")
  parser.add_argument("--images", type=int, default=40)
  given = parser.parse_args()
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  cv2.setNumThreads(1)
  inputs, peer = corpus.load_inputs(given.assets), Peer()
  stages, whole, rasters = [], [], []
  warm_up = min(WARM_UP, given.images)
  for index in range(given.images + warm_up):
    seconds, drawn = stage_times(inputs, index)
    total, both = whole_time(inputs, index), compare_rasters(drawn, peer)
    if index >= warm_up:
      stages.append(seconds)
      whole.append(total)
      rasters.append(both)
  mean = {
    name: round(1e3 * statistics.mean(row[name] for row in stages), 1)
    for name in STAGES
  }
  ours, theirs = ([row[name] for row in rasters] for name in ("ours", "peer"))
  result = {
    "images": given.images,
    "images_per_second": round(1 / statistics.mean(whole), 1),
    "milliseconds": mean,
    "covered": round(statistics.mean(row["covered"] for row in stages), 3),
    "raster": {
      "ours_ms": round(1e3 * statistics.median(ours), 1),
      "peer_ms": round(1e3 * statistics.median(theirs), 1),
      "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs)), 2),
      "equal_pixels": round(statistics.mean(r["equal"] for r in rasters), 5),
      "triangles": round(statistics.mean(r["triangles"] for r in rasters)),
    },
  }
  for name, milliseconds in mean.items():
    print(f"{name:12} {milliseconds:6.1f} ms")
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()

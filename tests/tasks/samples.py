"""Labelled images for tests: a ball before a wall, seen by a camera."""

import ml_collections
import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax import tasks
from tests.tasks.task_configs import load_task_config


def load_config(
  name: str, image_size=(64, 48), **head
) -> ml_collections.ConfigDict:
  """A toy config of a task."""
  config = load_task_config(name, "toy", image_size)
  config.head.update(upsample_channels=(16, 12, 8, 8), conv_channels=(8,))
  if "scale_channels" in config.head:
    config.head.scale_channels = (16,)
  return config


def make_task(name: str, image_size=(64, 48)) -> tasks.Task:
  return tasks.make_task(load_config(name, image_size))


def ball(size=(90, 60)) -> tuple[np.ndarray, Labels]:
  """An image and its labels: a patterned ball, 2.5 m away."""
  height, width = size
  focal = 1.2 * max(size)
  k = np.float32([[focal, 0, width * 0.48], [0, focal, height / 2], [0, 0, 1]])
  rows, cols = np.indices(size)
  rays = np.stack(
    [
      (cols - k[0, 2]) / focal,
      (rows - k[1, 2]) / focal,
      np.ones(size),
    ],
    axis=-1,
  )
  center = np.array([0.05, -0.1, 2.5])
  radius = 0.3 * min(size) / focal * 2.5
  # |t ray - center| = radius, the nearer t; z of a ray is 1, so t is depth.
  a, b = np.sum(rays**2, -1), rays @ center
  root = b**2 - a * (center @ center - radius**2)
  mask = root > 0
  depth = np.where(mask, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
  normal = (rays * depth[..., None] - center) / radius
  normal = np.where(mask[..., None], normal * [1, -1, -1], 0)
  pattern = np.stack([rows * 3 % 200, cols * 5 % 200, rows + cols], -1) + 40
  albedo = np.where(mask[..., None], pattern, 0).astype(np.uint8)
  shade = np.clip(normal[..., 2:], 0.2, 1)
  image = np.where(mask[..., None], albedo * shade, 90).astype(np.uint8)
  labels = Labels(
    alpha=np.where(mask, 255, 0).astype(np.uint8),
    normal=normal.astype(np.float32),
    depth=depth.astype(np.float32),
    intrinsics=k,
    albedo=albedo,
  )
  return image, labels

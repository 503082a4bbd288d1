"""Images, boxes and network outputs by formula, for the processor's goldens."""

import numpy as np

from tests.golden import rnd

INPUT = (128, 96)  # (height, width) of the network
SIZES = ((60, 80), (90, 150), (300, 170))  # of images
# top, left, height, width; inside, at the edge, and all of each image.
BOXES = (
  ((15.0, 20.0, 25.0, 18.5), (0.0, 0.0, 59.0, 79.0)),
  ((20.0, 40.0, 40.0, 60.0), (0.0, 0.0, 89.0, 149.0)),
  ((60.0, 30.0, 160.0, 90.0), (0.0, 0.0, 299.0, 169.0)),
)


def smooth(size: tuple[int, int], channels: int, stream: int) -> np.ndarray:
  """(h, w, c) float64 in [-1, 1]: two waves a channel, a few periods long."""
  waves = rnd((2, channels, 3), stream)
  y, x = (np.arange(side)[:, None] / side for side in size)
  phases = (
    2 * np.pi * (3 * waves[..., :1] * y[:, 0]),
    2 * np.pi * (3 * waves[..., 1:2] * x[:, 0] + waves[..., 2:]),
  )
  both = np.cos(phases[0][..., :, None] + phases[1][..., None, :])
  return both.mean(axis=0).transpose(1, 2, 0)


def image(size: tuple[int, int]) -> np.ndarray:
  """(h, w, 3) uint8."""
  return np.round(127.5 + 127 * smooth(size, 3, 4000)).astype(np.uint8)


def outputs(task: str) -> dict[str, np.ndarray]:
  """What the head of a task may return for one image of `INPUT` pixels."""
  if task == "pose":
    size = (INPUT[0] // 4, INPUT[1] // 4)
    centers = (rnd((308, 2), 4001) * 0.4 + 0.5) * size
    rows, cols = np.indices(size)[..., None]
    distance = (rows - centers[:, 0]) ** 2 + (cols - centers[:, 1]) ** 2
    peaks = 0.9 * np.exp(-distance / 18) + 0.02 * rnd((*size, 308), 4002)
    return {"heatmaps": peaks.astype(np.float32)}
  maps = {
    "segmentation": lambda: {"logits": 4 * smooth(INPUT, 29, 4003)},
    "normal": lambda: {"normal": smooth(INPUT, 3, 4004) + [0, 0, 1.5]},
    "pointmap": lambda: {
      "pointmap": smooth(INPUT, 3, 4005) + [0, 0, 3],
      "scale": np.float32(1.3),
    },
    "matting": lambda: {"matte": 0.5 + 0.5 * smooth(INPUT, 4, 4006)},
  }[task]()
  return {name: np.float32(x) for name, x in maps.items()}

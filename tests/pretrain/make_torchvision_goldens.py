r"""What torchvision makes of two photographs: the goldens of the augmentation.

Run:  python tests/augment/make_torchvision_goldens.py \
        --photographs DIR --output tests/augment/data/torchvision.npz

DIR holds astronaut.png (NASA, public domain) and camera.png (Lav Varshney,
CC0) of scikit-image 0.26.0: photographs/ of data_pipelines.sample_corpus.
Needs torchvision, which nothing else here does; the file in the repository
was written with torch 2.14.1, torchvision 0.29.1, Pillow 13.0.0 on CPU.
"""

import argparse
import os

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

# Every fourth pixel of (top, left, bottom, right): 64 x 48 pixels.
PHOTOGRAPHS = {
  "astronaut.png": (40, 50, 296, 242),
  "camera.png": (40, 130, 296, 322),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KERNEL, THRESHOLD = [9, 9], 128 / 255


def blur(image, sigma):
  return F.gaussian_blur(image, KERNEL, [sigma, sigma])


# Operation -> what computes it, and pairs of photograph and parameter.
OPERATIONS = {
  "brightness": (F.adjust_brightness, ((0, 0.6), (1, 1.4))),
  "contrast": (F.adjust_contrast, ((0, 1.4), (1, 0.6))),
  "saturation": (F.adjust_saturation, ((0, 1.2), (1, 0.8))),
  "hue": (F.adjust_hue, ((0, -0.1), (0, 0.07), (1, 0.1))),
  "blur": (blur, ((0, 2.0), (1, 0.1), (1, 0.7))),
  "gray": (lambda x, _: F.rgb_to_grayscale(x, 1), ((0, 0), (1, 0))),
  "solarize": (lambda x, _: F.solarize(x, THRESHOLD), ((0, 0), (1, 0))),
  "flip": (lambda x, _: F.horizontal_flip(x), ((0, 0),)),
  "normalize": (lambda x, _: F.normalize(x, MEAN, STD), ((0, 0),)),
}
# Photograph, and the arguments of `run_chain`.
CHAINS = (
  (0, 1, 1.31, 0.72, 1.17, -0.083, 1, 0, 1.3, 1, 1),
  (0, 0, 0.83, 1.38, 0.85, 0.046, 1, 0, 0.4, 0, 0),
  (0, 1, 1.21, 1.11, 1.02, 0.091, 1, 1, 1.7, 1, 0),
  (1, 0, 1.12, 1.33, 0.91, 0.027, 1, 0, 0.6, 1, 1),
)


def read(folder: str, name: str) -> np.ndarray:
  top, left, bottom, right = PHOTOGRAPHS[name]
  image = Image.open(os.path.join(folder, name)).convert("RGB")
  crop = np.asarray(image)[top:bottom:4, left:right:4]
  return np.ascontiguousarray(crop.transpose(2, 0, 1))


def run_chain(
  image: torch.Tensor,
  is_flipped,
  brightness,
  contrast,
  saturation,
  hue,
  is_jittered,
  is_gray,
  sigma,
  is_blurred,
  is_solarized,
) -> torch.Tensor:
  """Everything that happens to a view, in our order."""
  if is_flipped:
    image = F.horizontal_flip(image)
  if is_jittered:
    image = F.adjust_brightness(image, brightness)
    image = F.adjust_contrast(image, contrast)
    image = F.adjust_saturation(image, saturation)
    image = F.adjust_hue(image, hue)
  if is_gray:
    image = F.rgb_to_grayscale(image, 3)
  if is_blurred:
    image = blur(image, sigma)
  if is_solarized:
    # Rounding decides for a pixel at the threshold; there must be none.
    assert (image - THRESHOLD).abs().min() > 1e-5
    image = F.solarize(image, THRESHOLD)
  return F.normalize(image, MEAN, STD)


def make(folder: str) -> dict[str, np.ndarray]:
  """All arrays of the file."""
  photographs = np.stack([read(folder, name) for name in PHOTOGRAPHS])
  pixels = torch.from_numpy(photographs).float() / 255
  arrays = {"photographs": photographs}
  for name, (function, cases) in OPERATIONS.items():
    arrays[f"{name}.cases"] = np.array(cases)
    arrays[name] = np.stack([function(pixels[i], p).numpy() for i, p in cases])
  arrays["chain.cases"] = np.array(CHAINS)
  arrays["chain"] = np.stack([run_chain(pixels[i], *c) for i, *c in CHAINS])
  return arrays


if __name__ == "__main__":
  parser = argparse.ArgumentParser()
  parser.add_argument("--photographs", required=True)
  parser.add_argument("--output", required=True)
  given = parser.parse_args()
  np.savez_compressed(given.output, **make(given.photographs))

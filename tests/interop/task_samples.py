"""Small task models with every parameter of order one, as named tensors."""

import numpy as np

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import head_keys, keys
from sapiens2_jax.interop.head_keys import Head
from tests import (
  golden,
  tiny,  # noqa: F401  Registers the size.
)

ARCH = ARCHITECTURES["tiny"]  # of two blocks, one with grouped heads
SHUFFLE = ((8, 12, 8, 6), (8, 6))
# Of images of 64 x 48: 4 x 3 patches, 2 x 2 after one stride.
HEADS = {
  "pose": Head("pose", (12, 8), (10, 6)),
  "segmentation": Head("segmentation", (12, 10, 8, 6), (8,)),
  "normal": Head("normal", *SHUFFLE),
  "pointmap": Head("pointmap", *SHUFFLE, (6,), (8, 5), scale_inputs=24),
  "albedo": Head("albedo", *SHUFFLE),
  "matting": Head("matting", *SHUFFLE),
}
IN_TRANSFORMERS = tuple(task for task in HEADS if task != "albedo")
IMAGE_SIZE = (64, 48)


def shapes(head, style="reference", arch=ARCH):
  return {
    key: shape
    for slot in head_keys.slots(arch, head)
    for key, shape in slot.keys(style).items()
  }


def arrays(head, style="reference", dtype=np.float32, arch=ARCH):
  """Formula weights by key; keys of transformers hold the same values."""
  found = golden.formula_weights(shapes(head, arch=arch))
  if style == "transformers":
    named = {}
    for slot in head_keys.slots(arch, head):
      (key,) = slot.keys("reference")
      names = list(slot.keys("transformers"))
      named.update(zip(names, np.split(found[key], len(names))))
    found = named
  assert style in keys.STYLES
  return {key: x.astype(dtype) for key, x in found.items()}

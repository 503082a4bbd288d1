"""Numbers of a prediction as contents of files."""

import io

import cv2
import numpy as np
from jaxtyping import Float, UInt8

# (folder, ending) -> content.
Files = dict[tuple[str, str], bytes]


def to_png(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
  """PNG file of levels, RGB or RGBA."""
  if pixels.ndim == 3:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2]]
    pixels = cv2.cvtColor(pixels, order)
  return cv2.imencode(".png", pixels)[1].tobytes()


def to_npy(values: Float[np.ndarray, "*b"]) -> bytes:
  """float16; what it cannot hold becomes its largest number."""
  limit = np.finfo(np.float16).max
  buffer = io.BytesIO()
  np.save(buffer, np.clip(values, -limit, limit).astype(np.float16))
  return buffer.getvalue()

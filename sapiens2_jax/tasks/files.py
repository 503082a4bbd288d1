"""Numbers of a prediction as contents of files."""

import io

import cv2
import numpy as np
from jaxtyping import Float, UInt8

# (folder, end of the name) -> content, such as ("normals", ".npy").
Files = dict[tuple[str, str], bytes]


def to_png(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
  """PNG file of levels, RGB or RGBA."""
  if pixels.ndim == 3:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2]]
    pixels = cv2.cvtColor(pixels, order)
  return cv2.imencode(".png", pixels)[1].tobytes()


def to_npy(values: Float[np.ndarray, "*b"], dtype: type = np.float16) -> bytes:
  """A .npy file; what the type cannot hold becomes its largest number."""
  limit = np.finfo(dtype).max
  buffer = io.BytesIO()
  np.save(buffer, np.clip(values, -limit, limit).astype(dtype))
  return buffer.getvalue()

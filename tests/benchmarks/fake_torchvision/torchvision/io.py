"""Decodes with PIL."""

import io

import numpy as np
import torch
from PIL import Image


def decode_jpeg(data: torch.Tensor) -> torch.Tensor:
  image = Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
  return torch.from_numpy(np.array(image)).permute(2, 0, 1)

"""Open pretraining of human-centric vision transformers in JAX.

Features of a photograph in four lines:

    encoder, params = sapiens2_jax.load_pretrained("weights.safetensors")
    image = sapiens2_jax.load_image("photo.jpg", (1024, 768))
    out = jax.jit(encoder.apply)({"params": params}, image[None])
    out.cls, out.registers, out.patches

`load_pretrained(...).features(paths)` does that for many photographs, and
`load_task` is for fine-tuned models.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from sapiens2_jax.extraction.photographs import load_image
  from sapiens2_jax.interop.load import load_pretrained, load_task

__all__ = ["load_image", "load_pretrained", "load_task"]

_PLACES = {"load_image": "sapiens2_jax.extraction.photographs"}


def __getattr__(name: str):
  # Imported on first use: JAX and Orbax take seconds, this module nothing.
  if name in __all__:
    place = _PLACES.get(name, "sapiens2_jax.interop.load")
    return getattr(importlib.import_module(place), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return [*globals(), *__all__]

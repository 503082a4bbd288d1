"""Open pretraining of human-centric vision transformers in JAX.

Features in four lines:

    encoder, params = sapiens2_jax.load_pretrained("weights.safetensors")
    out = encoder.apply({"params": params}, images)  # (b, h, w, 3) float32
    out.cls, out.registers, out.patches

`load_task` does the same for fine-tuned models.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from sapiens2_jax.interop.load import load_pretrained, load_task

__all__ = ["load_pretrained", "load_task"]


def __getattr__(name: str):
  # Imported on first use: JAX and Orbax take seconds, this module nothing.
  if name in __all__:
    from sapiens2_jax.interop import load

    return getattr(load, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return [*globals(), *__all__]

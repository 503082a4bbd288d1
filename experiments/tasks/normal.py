"""Surface normals: what fine-tuning on them takes, by size.

`reference` is what the public Sapiens2 release trains with, `ours` a choice of
this project: it has released neither 0.1b nor toy.
"""

from sapiens2_jax import errors

# peak_lr, num_steps, clip_norm, layer_decay
_OPTIM = {
  "toy": (5e-3, 1450, 2.0, 1.0),  # ours
  "0.1b": (5e-4, 20_000, 2.0, 0.80),  # ours: as 0.4b
  "0.4b": (5e-4, 20_000, 2.0, 0.80),  # reference
  "0.8b": (5e-4, 10_000, 4.0, 0.85),  # reference
  "1b": (5e-4, 40_000, 4.0, 0.90),  # reference
  "5b": (1e-4, 40_000, 4.0, 0.94),  # reference
}
_TOY_HEAD = {  # ours: cheap on two cores
  "upsample_channels": (32, 16, 8, 8),
  "conv_channels": (),
}
# Ours: in patches of a smaller image normals turn too much.
_TOY_DATA = {"image_size": (256, 192)}
_HEAD = {  # reference; 0.1b: ours
  "upsample_channels": (768, 512, 256, 128),
  "conv_channels": (64, 32, 16),
}
_LARGE_HEAD = {  # reference
  "upsample_channels": (1536, 768, 512, 256),
  "conv_channels": (128, 64, 32),
}


def get_task(size: str) -> dict:
  """Groups of the config that depend on the task."""
  peak_lr, num_steps, clip_norm, layer_decay = errors.lookup(
    _OPTIM, size, "size"
  )
  return {
    "task": {"name": "normal"},
    "data": _TOY_DATA if size == "toy" else {},
    "head": {"toy": _TOY_HEAD, "5b": _LARGE_HEAD}.get(size, _HEAD),
    "optim": {
      "peak_lr": peak_lr,
      "num_steps": num_steps,
      "clip_norm": clip_norm,
      "layer_decay": layer_decay,
    },
    "model": {"dtype": "float32" if size == "toy" else "bfloat16"},  # reference
  }

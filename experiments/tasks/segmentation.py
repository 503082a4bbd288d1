"""Fine-tuning for 29 body parts: what differs from task to task.

`reference` is a value of the public Sapiens2 release (its sizes are 0.4b to
5b), `ours` a choice of this project.
"""

from sapiens2_jax import errors

# peak_lr, num_steps, clip_norm, layer_decay
_OPTIM = {
  "toy": (5e-3, 1450, 2.0, 1.0),  # ours
  "0.1b": (5e-4, 20_000, 2.0, 0.80),  # ours: as 0.4b
  "0.4b": (5e-4, 20_000, 2.0, 0.80),  # reference
  "0.8b": (5e-4, 30_000, 4.0, 0.85),  # reference
  "1b": (5e-4, 20_000, 4.0, 0.90),  # reference
  "5b": (5e-4, 50_000, 4.0, 0.94),  # reference
}
_HEAD = {"toy": ((64, 32), ())}  # ours: cheap on a laptop
# Ours: patches of a smaller image hold too many parts.
_TOY_DATA = {"image_size": (256, 192)}
_USUAL_HEAD = ((512, 256, 128, 64), (64, 64))  # reference; at 0.1b: ours


def get_task(size: str) -> dict:
  """Groups of the config of one size.

  Raises:
    ValueError: no such size; lists those that there are.
  """
  optim = errors.lookup(_OPTIM, size, "size")
  peak_lr, num_steps, clip_norm, layer_decay = optim
  upsample_channels, conv_channels = _HEAD.get(size, _USUAL_HEAD)
  return {
    "task": {
      "name": "segmentation",
      # Images without people to put behind people, as data.path; "" for none.
      "backgrounds": "",  # ours: the reference's are not public
    },
    "data": _TOY_DATA if size == "toy" else {},
    "head": {
      "upsample_channels": upsample_channels,
      "conv_channels": conv_channels,
    },
    "optim": {
      "peak_lr": peak_lr,
      "num_steps": num_steps,
      "clip_norm": clip_norm,
      "layer_decay": layer_decay,
    },
    # Of the computation. float32 at toy: ours; bfloat16: reference, which has
    # float32 at 0.8b.
    "model": {"dtype": "float32" if size == "toy" else "bfloat16"},
  }

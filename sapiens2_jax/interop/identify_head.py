"""Which task's head a set of tensors holds, and how wide it is."""

from collections.abc import Mapping

from sapiens2_jax.interop.head_keys import GROUPS, Head, releases
from sapiens2_jax.interop.tensors import LazyTensor, Tensors
from sapiens2_jax.tasks.release import ReleaseHead

HEAD_PREFIXES = ("decode_head.", "scale_head.")
_MAX_LAYERS = 32  # of one group


def has_head(tensors: Tensors) -> bool:
  """Whether any key is that of a head."""
  return any(key.startswith(HEAD_PREFIXES) for key in tensors)


def find_head(
  tensors: Tensors, style: str, origin: str, labels: Mapping[str, str]
) -> Head:
  """Finds task and widths of a head from names and shapes.

  Args:
    tensors: of a task model.
    style: of its keys, one of `keys.STYLES`.
    origin: file name for messages.
    labels: see `identify`.

  Raises:
    ValueError: of no known task, or layers are missing whose width is needed.
  """
  kinds = {
    task: kind.with_labels(labels.get(task, ""))
    for task, kind in releases().items()
  }
  find_task = {"reference": _named, "transformers": _shaped}[style]
  task = find_task(tensors, origin, kinds)

  def widths(group: str, axis: int = 0, factor: int = 1) -> tuple[int, ...]:
    found = _widths(tensors, group, style, axis, origin)
    return tuple(width // factor for width in found)

  if kinds[task].is_shuffle:
    upsample_channels = widths("upsample", factor=4)
  else:
    upsample_channels = widths("deconv", axis=1)
  first = GROUPS["scale_dense"].names(0)[style] + ".weight"
  shape = tensors[first].shape if first in tensors else ()
  return Head(
    task,
    upsample_channels,
    conv_channels=widths("conv"),
    scale_channels=widths("scale_conv"),
    scale_hidden=widths("scale_dense")[:-1],
    scale_inputs=shape[1] if len(shape) == 2 else 0,
    labels=labels.get(task, ""),
  )


def _named(
  tensors: Tensors, origin: str, kinds: Mapping[str, ReleaseHead]
) -> str:
  for task, kind in kinds.items():
    if any(key.startswith(f"{kind.predictor}.") for key in tensors):
      return task
  names = ", ".join(kind.predictor for kind in kinds.values())
  raise ValueError(f"{origin}: a head of no known task; none of {names}")


def _shaped(
  tensors: Tensors, origin: str, kinds: Mapping[str, ReleaseHead]
) -> str:
  """By number of outputs and kind of layers: all have the same names."""
  has_scale = any(key.startswith("scale_head.") for key in tensors)
  is_shuffle = any(key.startswith("decode_head.input_conv.") for key in tensors)
  outputs = [
    x.shape[0]
    for key, x in tensors.items()
    if key.startswith("decode_head.predictor.") and x.shape
  ]
  fitting = [
    task
    for task, kind in kinds.items()
    if kind.transformers
    and outputs[:1] == [kind.num_outputs]
    and (is_shuffle, has_scale) == (kind.is_shuffle, kind.predicts_scale)
  ]
  if len(fitting) == 1:
    return fitting[0]
  if fitting:
    raise ValueError(f"{origin}: a head of {' or '.join(fitting)}; all fit")
  layers = "pixel shuffles" if is_shuffle else "transposed convolutions"
  raise ValueError(
    f"{origin}: a head of no known task; {layers} and "
    f"{outputs[0] if outputs else 'no'} outputs"
  )


def _widths(
  tensors: Tensors, group: str, style: str, axis: int, origin: str
) -> list[int]:
  """Of each layer up to the last one of which there is anything."""
  names = [GROUPS[group].names(n)[style] for n in range(_MAX_LAYERS)]
  found = [
    _width(tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias"), axis)
    for name in names
  ]
  while found and found[-1] is None:
    found.pop()
  missing = [name for name, width in zip(names, found) if width is None]
  if missing:
    raise ValueError(f"{origin}: missing layers: {', '.join(missing)}")
  return found


def _width(
  weight: LazyTensor | None, bias: LazyTensor | None, axis: int
) -> int | None:
  if weight is not None and len(weight.shape) > 1:
    return weight.shape[axis]
  return bias.shape[0] if bias is not None and bias.shape else None

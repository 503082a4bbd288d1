"""Names and layouts of the heads, beside those of the encoder in `keys`.

A task model is {"encoder": ..., "head": ...} in our tree; `backbone.*` and
`decode_head.*` in reference keys; `model.*`, `decode_head.*` and
`scale_head.*` in those of transformers.

Source: state dicts of the public Sapiens2 release; names of the Hugging Face
transformers port.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from sapiens2_jax.architectures import Architecture, get_architecture
from sapiens2_jax.interop import keys
from sapiens2_jax.interop.keys import LINEAR, Entry, Layout, Slot
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.release import ReleaseHead

ENCODER_PREFIX = {"reference": "backbone.", "transformers": "model."}


def releases() -> dict[str, ReleaseHead]:
  """Heads of all tasks that have some, by name of the task."""
  return {
    task.name: task.release
    for task in registry.definitions()
    if task.release is not None
  }


@dataclasses.dataclass(frozen=True)
class Head:
  """All that the names and shapes of a head depend on.

  Attributes:
    task: its name.
    upsample_channels, conv_channels, scale_channels, scale_hidden: as the
      fields of `models.heads`.
    scale_inputs: of the first linear layer of the scale; 0 without a scale.
  """

  task: str
  upsample_channels: tuple[int, ...]
  conv_channels: tuple[int, ...]
  scale_channels: tuple[int, ...] = ()
  scale_hidden: tuple[int, ...] = ()
  scale_inputs: int = 0

  @property
  def kind(self) -> ReleaseHead:
    return registry.definition(self.task).release

  @property
  def widths(self) -> dict[str, tuple[int, ...]]:
    """What a config holds in its group `head`."""
    names = ("upsample_channels", "conv_channels")
    if self.scale_channels:
      names += ("scale_channels", "scale_hidden")
    return {name: getattr(self, name) for name in names}


def scale_inputs(
  image_size: tuple[int, int], patch_size: int, channels: tuple[int, ...]
) -> int:
  """Numbers that stride-2 convolutions to `channels` leave of an image."""
  rows, cols = (side // patch_size for side in image_size)
  for _ in channels:
    rows, cols = -(-rows // 2), -(-cols // 2)
  return rows * cols * channels[-1] if channels else 0


def head_of(config: ConfigDict) -> Head | None:
  """The head of a fine-tuning config; None if its task has no release."""
  task = registry.find(config.task.name)
  if task is None or task.release is None:
    return None
  widths = {name: tuple(value) for name, value in config.head.items()}
  inputs = scale_inputs(
    tuple(config.data.image_size),
    get_architecture(config.model.size).patch_size,
    widths.get("scale_channels", ()),
  )
  return Head(config.task.name, **widths, scale_inputs=inputs)


def _deconv_to_ours(x: np.ndarray) -> np.ndarray:
  # (in, out, row, col) -> (row, col, in, out), and mirrored: the reference
  # stores the kernel of the convolution that this one is transposed to.
  return x[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)


def _deconv_to_reference(x: np.ndarray) -> np.ndarray:
  return x.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1]


CONV = Layout(  # (out, in, row, col) <-> (row, col, in, out)
  lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
DECONV = Layout(_deconv_to_ours, _deconv_to_reference)


@dataclasses.dataclass(frozen=True)
class Group:
  """Layers of a head that are numbered.

  Attributes:
    reference, transformers: names of a layer; `{}` stands for its number.
    step, first: the reference counts norms and activations, too.
    numbers: what transformers writes for 0, 1, ... instead.
  """

  reference: str
  transformers: str
  step: int = 1
  first: int = 0
  numbers: tuple[str, ...] = ()

  def names(self, n: int) -> dict[str, str]:
    """Names of layer `n`, by style, without `.weight` and `.bias`."""
    number = self.numbers[n] if n < len(self.numbers) else str(n)
    return {
      "reference": self.reference.format(self.first + self.step * n),
      "transformers": self.transformers.format(number),
    }


GROUPS = {
  "input": Group(
    "decode_head.input_conv.0", "decode_head.input_conv.convolution"
  ),
  "deconv": Group(
    "decode_head.deconv_layers.{}",
    "decode_head.upsample_layers.{}.convolution",
    step=3,
  ),
  "upsample": Group(
    "decode_head.upsample_blocks.{}.0",
    "decode_head.upsample_layers.{}.convolution",
  ),
  "conv": Group(
    "decode_head.conv_layers.{}",
    "decode_head.conv_layers.{}.convolution",
    step=3,
  ),
  "scale_conv": Group(
    "decode_head.scale_conv_layers.{}",
    "scale_head.conv_layers.{}.convolution",
    step=3,
  ),
  "scale_dense": Group(
    "decode_head.scale_final_layer.{}",
    "scale_head.predictor.{}",
    step=2,
    first=1,
    numbers=("block1.layers.0", "block2.layers.0", "proj"),
  ),
}


def _entries(
  names: dict[str, str],
  path: tuple[str, ...],
  shape: tuple[int, ...],
  layout: Layout = CONV,
) -> Iterator[Entry]:
  parts = [("weight", "kernel", shape, layout)]
  if layout is not DECONV:
    parts.append(("bias", "bias", shape[:1], keys.SAME))
  for theirs, ours, part_shape, part_layout in parts:
    yield Entry(
      f"{names['reference']}.{theirs}",
      (f"{names['transformers']}.{theirs}",),
      ("head", *path, ours),
      part_shape,
      part_layout,
    )


def _norm(reference: str, name: str, width: int) -> Entry:
  # transformers has no such head.
  path = ("head", name, "norm", "norm", "scale")
  return Entry(f"decode_head.{reference}.norm.weight", (), path, (width,))


def _map_entries(head: Head, width: int) -> Iterator[Entry]:
  kind, has_scales = head.kind, head.kind.norms_have_scales
  side = 3 if kind.is_shuffle else 1
  group = "upsample" if kind.is_shuffle else "deconv"

  def conv(group: str, n: int | None, shape: tuple[int, ...], layout=CONV):
    name = group if n is None else f"{group}_{n}"
    names = GROUPS[group].names(n or 0)
    return _entries(names, (name, "conv"), shape, layout)

  if kind.is_shuffle:
    yield from conv("input", None, (width, width, side, side))
    if has_scales:
      yield _norm("input_conv.1", "input", width)
  for n, channels in enumerate(head.upsample_channels):
    if kind.is_shuffle:
      yield from conv(group, n, (4 * channels, width, side, side))
    else:
      yield from conv(group, n, (width, channels, 4, 4), DECONV)
    width = channels
    if has_scales:
      yield _norm(f"upsample_blocks.{n}.2", f"upsample_{n}", width)
  for n, channels in enumerate(head.conv_channels):
    yield from conv("conv", n, (channels, width, side, side))
    width = channels
    if has_scales:
      yield _norm(f"conv_layers.{3 * n + 1}", f"conv_{n}", width)
  names = {"reference": kind.predictor, "transformers": "decode_head.predictor"}
  shape = (kind.num_outputs, width, 1, 1)
  yield from _entries(names, ("predict", "conv"), shape)


def _scale_entries(head: Head, width: int) -> Iterator[Entry]:
  for n, channels in enumerate(head.scale_channels):
    names, path = GROUPS["scale_conv"].names(n), (f"scale_conv_{n}", "conv")
    yield from _entries(names, path, (channels, width, 1, 1))
    width = channels
  width = head.scale_inputs
  widths = (*head.scale_hidden, 1) if head.scale_channels else ()
  for n, channels in enumerate(widths):
    names, path = GROUPS["scale_dense"].names(n), (f"scale_dense_{n}",)
    yield from _entries(names, path, (channels, width), LINEAR)
    width = channels


@functools.cache
def _in_model(entry: Entry) -> Entry:
  """An entry of the encoder's table as part of a task model."""
  return dataclasses.replace(
    entry,
    reference=ENCODER_PREFIX["reference"] + entry.reference,
    transformers=tuple(
      ENCODER_PREFIX["transformers"] + name for name in entry.transformers
    ),
  )


def slots(arch: Architecture, head: Head | None) -> Iterator[Slot]:
  """Every array of a task model; without a head, of an encoder alone."""
  if head is None:
    yield from keys.slots(arch)
    return
  for slot in keys.slots(arch):
    yield dataclasses.replace(
      slot, entry=_in_model(slot.entry), path=("encoder", *slot.path)
    )
  for part in (_map_entries, _scale_entries):
    for entry in part(head, arch.embed_dim):
      yield Slot(entry, None, entry.path, None, None, entry.shape)


def periods_key(head: Head | None) -> str:
  """Reference key of the buffer of RoPE periods."""
  prefix = ENCODER_PREFIX["reference"] if head else ""
  return prefix + keys.PERIODS_KEY

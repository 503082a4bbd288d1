"""Names and layouts of the heads, beside those of the encoder in `keys`.

A task model is {"encoder": ..., "head": ...} in our tree; `backbone.*` and
`decode_head.*` in reference keys; `model.*`, `decode_head.*` and
`scale_head.*` in those of transformers.

Source: state dicts of the public Sapiens2 release; names of the Hugging Face
transformers port.
"""

import dataclasses
from collections.abc import Iterator

from ml_collections import ConfigDict

from sapiens2_jax import fields
from sapiens2_jax.architectures import Architecture, get_architecture
from sapiens2_jax.interop import keys
from sapiens2_jax.interop.keys import Entry, Layout, Slot
from sapiens2_jax.models.grid import TokenGrid, token_grid
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
    labels: of the channels, a `name_sets.NameSet` as JSON; empty: those of the
      release.
  """

  task: str
  upsample_channels: tuple[int, ...]
  conv_channels: tuple[int, ...]
  scale_channels: tuple[int, ...] = ()
  scale_hidden: tuple[int, ...] = ()
  scale_inputs: int = 0
  labels: str = ""

  @property
  def kind(self) -> ReleaseHead:
    return registry.definition(self.task).release.with_labels(self.labels)

  @property
  def widths(self) -> dict[str, tuple[int, ...]]:
    """What a config holds in its group `head`."""
    names = ("upsample_channels", "conv_channels")
    if self.scale_channels:
      names += ("scale_channels", "scale_hidden")
    return {name: getattr(self, name) for name in names}


def scale_inputs(grid: TokenGrid, channels: tuple[int, ...]) -> int:
  """Numbers that stride-2 convolutions to `channels` leave of an image."""
  rows, cols = grid.shape
  for _ in channels:
    rows, cols = -(-rows // 2), -(-cols // 2)
  return rows * cols * channels[-1] if channels else 0


def head_of(config: ConfigDict) -> Head | None:
  """The head of a fine-tuning config; None if its task has no release."""
  task = registry.find(config.task.name)
  if task is None or task.release is None:
    return None
  widths = {name: tuple(value) for name, value in config.head.items()}
  arch = get_architecture(config.model.size)
  grid = token_grid(arch, tuple(config.data.image_size))
  inputs = scale_inputs(grid, widths.get("scale_channels", ()))
  given = dict(fields.leaves(config))
  labels = given[task.labels] if task.labels else ""
  return Head(config.task.name, **widths, scale_inputs=inputs, labels=labels)


CONV = Layout(  # (out, in, row, col) <-> (row, col, in, out)
  lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
# (in, out, row, col) <-> (row, col, in, out), and mirrored: the reference
# stores the kernel of the convolution that this one is transposed to.
DECONV = Layout(
  lambda x: x[:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
  lambda x: x.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1],
)


@dataclasses.dataclass(frozen=True)
class Group:
  """Layers of a head that are numbered.

  Attributes:
    reference: name of a layer after "decode_head."; `{}` stands for its
      number.
    transformers: its whole name.
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
    place = self.reference.format(self.first + self.step * n)
    return {
      "reference": f"decode_head.{place}",
      "transformers": self.transformers.format(number),
    }


GROUPS = {
  "input": Group("input_conv.0", "decode_head.input_conv.convolution"),
  "deconv": Group(
    "deconv_layers.{}", "decode_head.upsample_layers.{}.convolution", 3
  ),
  "upsample": Group(
    "upsample_blocks.{}.0", "decode_head.upsample_layers.{}.convolution"
  ),
  "conv": Group("conv_layers.{}", "decode_head.conv_layers.{}.convolution", 3),
  "scale_conv": Group(
    "scale_conv_layers.{}", "scale_head.conv_layers.{}.convolution", 3
  ),
  "scale_dense": Group(
    "scale_final_layer.{}",
    "scale_head.predictor.{}",
    step=2,
    first=1,
    numbers=("block1.layers.0", "block2.layers.0", "proj"),
  ),
}


def _norm(reference: str, name: str, width: int) -> Entry:
  # transformers has no such head.
  path = ("head", name, "norm", "norm", "scale")
  return Entry(f"decode_head.{reference}.norm.weight", (), path, (width,))


def _map_entries(head: Head, width: int) -> Iterator[Entry]:
  kind, has_scales = head.kind, head.kind.norms_have_scales
  side = 3 if kind.is_shuffle else 1
  group = "upsample" if kind.is_shuffle else "deconv"

  def conv(group: str, n: int | None, shape: tuple[int, ...], layout=CONV):
    path = ("head", group if n is None else f"{group}_{n}", "conv")
    names, has_bias = GROUPS[group].names(n or 0), layout is not DECONV
    return keys.layer(*names.values(), path, shape, layout, has_bias)

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
  names, path = (kind.predictor, "decode_head.predictor"), ("predict", "conv")
  shape = (kind.num_outputs, width, 1, 1)
  yield from keys.layer(*names, ("head", *path), shape, CONV)


def _scale_entries(head: Head, width: int) -> Iterator[Entry]:
  for n, channels in enumerate(head.scale_channels):
    path = ("head", f"scale_conv_{n}", "conv")
    names, shape = GROUPS["scale_conv"].names(n), (channels, width, 1, 1)
    yield from keys.layer(*names.values(), path, shape, CONV)
    width = channels
  width = head.scale_inputs
  widths = (*head.scale_hidden, 1) if head.scale_channels else ()
  for n, channels in enumerate(widths):
    names, path = GROUPS["scale_dense"].names(n), ("head", f"scale_dense_{n}")
    yield from keys.layer(*names.values(), path, (channels, width))
    width = channels


def slots(arch: Architecture, head: Head | None) -> Iterator[Slot]:
  """Every array of a task model; without a head, of an encoder alone."""
  if head is None:
    yield from keys.slots(arch)
    return
  for slot in keys.slots(arch):
    entry, path = slot.entry.below(**ENCODER_PREFIX), ("encoder", *slot.path)
    yield dataclasses.replace(slot, entry=entry, path=path)
  for part in (_map_entries, _scale_entries):
    for entry in part(head, arch.embed_dim):
      yield Slot(entry, None, entry.path, None, None, entry.shape)


def periods_key(head: Head | None) -> str:
  """Reference key of the buffer of RoPE periods."""
  prefix = ENCODER_PREFIX["reference"] if head else ""
  return prefix + keys.PERIODS_KEY

"""What stands on the encoder for the human tasks: features to maps.

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sapiens2_jax import errors, fields
from sapiens2_jax.architectures import Architecture
from sapiens2_jax.models import partition
from sapiens2_jax.models.grid import doublings
from sapiens2_jax.models.layers import RMSNorm, partitioned

Map = Float[Array, "b _ _ _"]  # rows, columns, channels

INSTANCE_EPS = 1e-5
# Narrower kernels are whole on every device: too small to be worth cutting,
# and a mesh need not divide them.
MIN_PARTITIONED = 256

_scaling = nn.initializers.variance_scaling
conv_init = _scaling(2.0, "fan_out", "normal")
dense_init = _scaling(1.0, "fan_in", "normal")
DECONV_INITS = {
  # What the reference calls fan-out is the fan-in of a transposed kernel.
  "kaiming": _scaling(2.0, "fan_in", "normal"),
  "uniform": _scaling(1 / 3, "fan_out", "uniform"),
}
_WIDTHS = {
  "upsample_channels": "Channels after each doubling of rows and columns.",
  "conv_channels": "Channels of each convolution at the last resolution.",
  "scale_channels": "Channels of each convolution before the scale.",
  "scale_hidden": "Widths of the layers between those and the scale.",
}


def config_fields(
  upsample_channels: tuple[int, ...] = (768, 512, 256, 128),
  conv_channels: tuple[int, ...] = (64, 32, 16),
  **more: tuple[int, ...],
) -> fields.Schema:
  """The group `head` of a task's config, with the reference's widths."""
  more |= {"upsample_channels": upsample_channels}
  more |= {"conv_channels": conv_channels}
  widths = {
    name: fields.Field(default, _WIDTHS[name], fields.WIDTHS)
    for name, default in more.items()
  }
  return fields.group("head", "reference", **widths)


def fit_widths(
  upsample_channels: tuple[int, ...],
  architecture: Architecture,
  stride: int | None = None,
) -> tuple[int, ...]:
  """Widths of a head of another size, as many as this encoder needs.

  What the 4K variant needs beyond halves the last one: ours.

  Args:
    upsample_channels: of a head for tokens of 16 pixels.
    architecture: of the encoder.
    stride: see `grid.doublings`.
  """
  usual = dataclasses.replace(architecture, patch_size=16, window_size=1)
  extra = doublings(architecture, stride) - doublings(usual, stride)
  widths = tuple(upsample_channels)
  for _ in range(extra):
    widths += (widths[-1] // 2,)
  return widths[: len(upsample_channels) + extra]


def instance_norm(x: Map) -> Map:
  """Mean 0 and variance 1 over the pixels of each channel and image.

  Statistics in float32, result in the dtype of x; eps 1e-5, no parameters.

  Raises:
    ValueError: one pixel, which is always 0.
  """
  if x.shape[1] * x.shape[2] == 1:
    raise ValueError(
      f"an instance norm of a single pixel is always zero (shape {x.shape}); "
      "use a larger data.image_size, or fewer layers with a stride (of "
      "pointmap: head.scale_channels)."
    )
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
  variance = jnp.mean((wide - mean) ** 2, axis=(1, 2), keepdims=True)
  return ((wide - mean) * lax.rsqrt(variance + INSTANCE_EPS)).astype(x.dtype)


def pixel_shuffle(x: Map) -> Map:
  """(b, h, w, 4c) to (b, 2h, 2w, c): channel 4c+2i+j to pixel (2y+i, 2x+j)."""
  b, h, w, c = x.shape
  x = x.reshape(b, h, w, c // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3)
  return x.reshape(b, 2 * h, 2 * w, c // 4)


def _spread(kernel: Array, axis: int) -> Array:
  """Of 4 places in a kernel those that a pixel sees, by the pixel's parity.

  Of an even pixel these are 0 and 2, over its own input pixel and the one
  before; of an odd one 1 and 3, over its own and the one after.

  Returns:
    3 places (before, own, after) along `axis`, and parity as a new last axis.
  """
  kernel = jnp.moveaxis(kernel, axis, 0)
  rest = ((0, 0),) * (kernel.ndim - 1)
  parities = [jnp.pad(kernel[i::2], ((i, 1 - i), *rest)) for i in (0, 1)]
  return jnp.moveaxis(jnp.stack(parities, axis=-1), 0, axis)


class TransposedConv(nn.Module):
  """A transposed convolution of kernel 4 and stride 2, without bias: x2.

  Computed as a convolution of kernel 3 and a pixel shuffle: 5 of 9 products
  are with zeros, instead of 3 of 4, and on CPU the gradient takes a fraction
  of the time.

  Attributes:
    features: channels of the result.
    kernel_init: of the kernel, (4, 4, in, out), not flipped.
  """

  features: int
  kernel_init: nn.initializers.Initializer
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Map) -> Map:
    shape = (4, 4, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    kernel = _spread(_spread(kernel, 0), 1).reshape(3, 3, shape[2], -1)
    x = lax.conv_general_dilated(
      x.astype(self.dtype),
      kernel,
      window_strides=(1, 1),
      padding="SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return pixel_shuffle(x)


class NormSiLU(nn.Module):
  """Norm, "instance" or "rms" (over channels, with a scale), then SiLU."""

  norm: str = "instance"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Map) -> Map:
    norms = {
      "instance": lambda: instance_norm,
      "rms": lambda: RMSNorm(name="norm", dtype=self.dtype),
    }
    return nn.silu(errors.lookup(norms, self.norm, "head.norm")()(x))


class Stage(nn.Module):
  """One convolution and what follows it.

  Of norm and SiLU the backward pass keeps the input alone: at full size their
  float32 insides would fill the memory.

  Attributes:
    features: channels of the result.
    kernel_size: of the convolution; padded so that stride 1 keeps the size.
    stride: of the convolution. Neither is for "deconv".
    upsample: "" (none), "shuffle" (convolution to 4 x features, then pixel
      shuffle) or "deconv" (`TransposedConv`).
    norm: see `NormSiLU`; "" for the convolution alone.
    deconv_init: initial transposed kernels, a key of `DECONV_INITS`.
  """

  features: int
  kernel_size: int = 1
  stride: int = 1
  upsample: str = ""
  norm: str = "instance"
  deconv_init: str = "kaiming"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Map) -> Map:
    width = self.features * (4 if self.upsample == "shuffle" else 1)
    is_wide = min(width, x.shape[-1]) >= MIN_PARTITIONED
    names = ("embed", "mlp") if is_wide else (None, None)
    if self.upsample == "deconv":
      init = errors.lookup(DECONV_INITS, self.deconv_init, "head.deconv_init")
      x = TransposedConv(
        width,
        dtype=self.dtype,
        kernel_init=partitioned(init, None, None, *names),
        name="conv",
      )(x)
    else:
      x = nn.Conv(
        width,
        (self.kernel_size,) * 2,
        self.stride,
        padding=self.kernel_size // 2,
        dtype=self.dtype,
        kernel_init=partitioned(conv_init, None, None, *names),
        bias_init=partitioned(nn.initializers.zeros, names[1]),
        name="conv",
      )(x)
    if self.upsample == "shuffle":
      x = pixel_shuffle(x)
    x = partition.constrain(x, "batch", None, None, None)
    if not self.norm:
      return x
    return nn.remat(NormSiLU)(self.norm, self.dtype, name="norm")(x)


class DeconvHead(nn.Module):
  """Transposed convolutions (x2 each), 1x1 convolutions, a predictor.

  Attributes:
    output_name: of the map in the result.
    num_outputs: channels of it.
    upsample_channels: after each doubling of rows and columns.
    conv_channels: of each convolution that follows.
    deconv_init: "kaiming" (pose) or "uniform" (segmentation).
    dtype: of the computation; parameters and result are float32.
  """

  output_name: str
  num_outputs: int
  upsample_channels: tuple[int, ...]
  conv_channels: tuple[int, ...]
  deconv_init: str = "kaiming"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Float[Array, "b r s d"]) -> dict[str, Map]:
    x = features.astype(self.dtype)
    given = {"deconv_init": self.deconv_init, "dtype": self.dtype}
    for i, width in enumerate(self.upsample_channels):
      x = Stage(width, upsample="deconv", name=f"deconv_{i}", **given)(x)
    for i, width in enumerate(self.conv_channels):
      x = Stage(width, dtype=self.dtype, name=f"conv_{i}")(x)
    x = Stage(self.num_outputs, norm="", dtype=self.dtype, name="predict")(x)
    return {self.output_name: x.astype(jnp.float32)}


class PixelShuffleHead(nn.Module):
  """3x3 convolutions with pixel shuffles (x2 each) up to full size.

  Attributes: as of `DeconvHead`, and
    norm: "instance" or "rms".
    use_sigmoid: outputs lie in (0, 1).
    scale_channels: of each 1x1 convolution of stride 2 in a second branch
      from the features to one number, `scale` (b,); () for no such branch.
    scale_hidden: widths of that branch's linear layers but the last.
  """

  output_name: str
  num_outputs: int
  upsample_channels: tuple[int, ...]
  conv_channels: tuple[int, ...]
  norm: str = "instance"
  use_sigmoid: bool = False
  scale_channels: tuple[int, ...] = ()
  scale_hidden: tuple[int, ...] = ()
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Float[Array, "b r s d"]) -> dict[str, Array]:
    features = features.astype(self.dtype)
    given = {"norm": self.norm, "dtype": self.dtype}
    x = Stage(features.shape[-1], 3, name="input", **given)(features)
    for i, width in enumerate(self.upsample_channels):
      name = f"upsample_{i}"
      x = Stage(width, 3, upsample="shuffle", name=name, **given)(x)
    for i, width in enumerate(self.conv_channels):
      x = Stage(width, 3, name=f"conv_{i}", **given)(x)
    x = Stage(self.num_outputs, norm="", dtype=self.dtype, name="predict")(x)
    x = x.astype(jnp.float32)
    outputs = {self.output_name: nn.sigmoid(x) if self.use_sigmoid else x}
    if self.scale_channels:
      outputs["scale"] = self._scale(features)
    return outputs

  def _scale(self, x: Map) -> Float[Array, "b"]:
    for i, width in enumerate(self.scale_channels):
      x = Stage(width, stride=2, dtype=self.dtype, name=f"scale_conv_{i}")(x)
    # The reference's order of the features: channel, row, column.
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    for i, width in enumerate((*self.scale_hidden, 1)):
      x = nn.Dense(
        width,
        dtype=self.dtype,
        kernel_init=partitioned(dense_init, None, None),
        bias_init=partitioned(nn.initializers.zeros, None),
        name=f"scale_dense_{i}",
      )(nn.silu(x) if i else x)
    return x[:, 0].astype(jnp.float32)

"""The grid of tokens of an image: the one place that knows its geometry."""

import dataclasses

from sapiens2_jax.architectures import Architecture


@dataclasses.dataclass(frozen=True)
class TokenGrid:
  """Rows and columns of tokens, and how many pixels each stands for.

  Attributes:
    rows, cols: of tokens.
    pixels_per_token: side, in pixels of the image, of the square that one
      token covers.
    output_pixels_per_token: side, in predicted pixels, of the square that is
      reconstructed for one token.
  """

  rows: int
  cols: int
  pixels_per_token: int
  output_pixels_per_token: int

  @property
  def shape(self) -> tuple[int, int]:
    """(rows, cols)."""
    return self.rows, self.cols

  @property
  def num_tokens(self) -> int:
    return self.rows * self.cols

  @property
  def image_size(self) -> tuple[int, int]:
    """(height, width) in pixels of the part of the image that is covered."""
    return self.rows * self.pixels_per_token, self.cols * self.pixels_per_token

  @property
  def output_dim(self) -> int:
    """Predicted values of one token: RGB of its output square."""
    return 3 * self.output_pixels_per_token**2


def pixels_per_token(architecture: Architecture) -> int:
  """Side, in pixels, of the square that one token covers."""
  return architecture.patch_size * architecture.window_size


def doublings(architecture: Architecture, stride: int | None = None) -> int:
  """How often a head doubles rows and columns, from tokens to a map.

  Args:
    architecture: of the encoder.
    stride: pixels of the image for one of the map, on a side; None: as the
      encoder reconstructs.
  """
  side = pixels_per_token(architecture)
  wanted = side // stride if stride else _output_pixels(architecture)
  return wanted.bit_length() - 1


def _output_pixels(architecture: Architecture) -> int:
  # The 4K variant reconstructs at half the resolution. Source: paper (2K
  # output); that it is the image's half: ours.
  side = pixels_per_token(architecture)
  return side // 2 if architecture.has_windows else side


def token_grid(
  architecture: Architecture, image_size: tuple[int, int]
) -> TokenGrid:
  """The grid of an image of (height, width) pixels.

  What is left of the image below one token is not covered.

  Raises:
    ValueError: the image is smaller than one token.
  """
  side = pixels_per_token(architecture)
  rows, cols = (length // side for length in image_size)
  if not rows or not cols:
    raise ValueError(
      f"image_size={tuple(image_size)} is smaller than one token of "
      f"{side} x {side} pixels."
    )
  return TokenGrid(rows, cols, side, _output_pixels(architecture))

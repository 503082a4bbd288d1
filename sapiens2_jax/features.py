r"""Features of photographs, by a frozen encoder.

    sapiens2 features --checkpoint runs/quickstart \
      --images runs/quickstart/corpus/photographs --output features.npz

`--checkpoint` is what `load_pretrained` reads: a training workdir (its newest
checkpoint), an export, an import or a released file. The .npz file holds, of
each photograph that can be read, in the order of their names:

    names   (n,)    relative to the folder
    cls     (n, d)  float32, one vector a photograph
    sizes   (n, 2)  height and width of the upright photograph, in pixels
    about   ()      JSON text: checkpoint, image_size, fit, dtype, rope_dtype

With `--patches DIR` each also gets DIR/NAME.npy: (rows, cols, d) float32, the
features of its patches on its own grid; NAME is without its ending, unless two
differ in nothing else. These are written as they come; only [cls] is kept in
memory. A photograph that cannot be read is left out, with the reason; if none
can, the exit code is 1.
"""

import io
import json
import os
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from data_pipelines import sources
from data_pipelines.common import images, storage
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.files import whole_file, write_file
from data_pipelines.common.progress import Progress
from sapiens2_jax import command
from sapiens2_jax.extraction import photographs
from sapiens2_jax.extraction.photographs import Prepared, Size
from sapiens2_jax.extraction.pretrained import Pretrained, View
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.weights import ENCODERS, find_weights
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.prediction import inputs
from sapiens2_jax.prediction.run import output_stems

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_IMAGES = flags.DEFINE_string(
  "images", None, "Folder, list (.txt, a path a line) or image."
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write, .npz.")
_PATCHES = flags.DEFINE_string(
  "patches", None, "Directory for features of patches, a .npy a photograph."
)
_IMAGE_SIZE = flags.DEFINE_string(
  "image_size",
  None,
  "HEIGHTxWIDTH in pixels that the encoder sees, such as 1024x768; default: "
  "what the weights were trained at.",
)
_FIT = flags.DEFINE_enum(
  "fit",
  "resize",
  sorted(photographs.FITS),
  "resize changes the aspect to that of the size, as transformers does; "
  "letterbox keeps it, with black around.",
)
_WEIGHTS = flags.DEFINE_enum(
  "weights", "teacher", ENCODERS, "Which encoder of a pretraining workdir."
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "Of the computation."
)
_ROPE_DTYPE = command.define_rope_dtype(TABLES)


def read_size(text: str | None) -> Size | None:
  """Height and width of HEIGHTxWIDTH."""
  if text is None:
    return None
  found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
  if not found:
    raise ValueError(
      f"--image_size={text}: expected HEIGHTxWIDTH in pixels, such as 1024x768."
    )
  return int(found[1]), int(found[2])


def check_output(path: str, patches: str | None) -> None:
  """Refuses what would not become a file, before hours of computing."""
  if not path.endswith(".npz"):
    raise ValueError(
      f"--output={path}: expected a file that ends in .npz; features of "
      "patches go to the directory --patches."
    )
  if storage.is_directory(path):
    raise ValueError(f"--output={path}: is a directory; give a file.")
  if patches is not None and storage.normal(patches) == storage.normal(path):
    raise ValueError(f"--patches={patches}: is the file of --output, too.")
  local = storage.local_path(path)
  if local is None:
    return
  holder = os.path.dirname(os.path.abspath(local))
  while not os.path.lexists(holder):  # Those that are missing are made.
    holder = os.path.dirname(holder)
  if not (os.path.isdir(holder) and os.access(holder, os.W_OK | os.X_OK)):
    raise ValueError(f"--output={path}: nothing can be written in {holder}.")


def prepare_all(source: sources.ImageSource, view: View):
  """Photographs as the encoder sees them, or why one cannot be read."""

  def read(number: int) -> Prepared | Exception:
    try:
      return view(images.decode_image(source[number].image))
    except (UnusableExample, sources.ShardReadError) as error:
      return error

  return photographs.read_ahead(read, range(len(source)))


def extract(
  pretrained: Pretrained,
  source: sources.ImageSource,
  view: View,
  patches: str | None,
) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
  """Computes features, and writes those of patches.

  Returns:
    Arrays for the .npz file; names and reasons of what was left out.
  """
  names = [source.name(number) for number in range(len(source))]
  stems = output_stems(names)
  done, skipped, cls, sizes = [], [], [], []

  with Progress("features", len(names), "images") as progress:

    def readable():
      for name, one in zip(names, prepare_all(source, view)):
        if isinstance(one, Prepared):
          done.append(name)
          yield one
        else:
          skipped.append((name, str(one)))
          progress.advance()

    for found in pretrained.extract(
      view, readable(), num_images=len(names), has_patches=patches is not None
    ):
      if patches is not None:
        content = io.BytesIO()
        np.save(content, found.patches)
        path = storage.join(patches, f"{stems[done[len(cls)]]}.npy")
        write_file(path, content.getvalue())
      cls.append(found.cls)
      sizes.append(found.original_size)
      progress.advance()
  if not done:
    return {}, skipped
  arrays = {"names": np.array(done), "cls": np.stack(cls)}
  return arrays | {"sizes": np.array(sizes, np.int32)}, skipped


def main() -> int:
  # Orbax warns of a file that this kind of checkpoint never has.
  logging.set_verbosity(logging.ERROR)
  size, output, patches = _IMAGE_SIZE.value, _OUTPUT.value, _PATCHES.value
  check_output(output, patches)
  size = read_size(size)
  source = inputs.open_images(_IMAGES.value, patches)
  weights = find_weights(_CHECKPOINT.value, _WEIGHTS.value)
  pretrained = load_pretrained(
    weights, rope_dtype=_ROPE_DTYPE.value, dtype=jnp.dtype(_DTYPE.value)
  )
  view = pretrained.view(size, _FIT.value)
  about = {
    "checkpoint": weights.description,
    "size": pretrained.encoder.architecture.name,
    "image_size": view.size,
    "fit": view.fit,
    "dtype": _DTYPE.value,
    "rope_dtype": pretrained.encoder.rope_dtype,
  }
  arrays, skipped = extract(pretrained, source, view, patches)
  for name, reason in skipped:
    print(f"left out   {name}: {reason}", file=sys.stderr)
  if not arrays:
    print(f"--images={_IMAGES.value}: none can be read", file=sys.stderr)
    return 1
  with whole_file(output) as file:
    np.savez(file, **arrays, about=np.array(json.dumps(about)))
  count, width = arrays["cls"].shape
  devices = jax.local_devices()
  height, breadth = view.size
  print(f"encoder    {weights.description}, {about['size']}")
  print(
    f"computed   at {height} x {breadth} pixels, {view.fit}, in {_DTYPE.value} "
    f"on {len(devices)} x {devices[0].device_kind}"
  )
  print(f"[cls]      {output} ({count:,} images x {width})")
  if patches is not None:
    print(f"patches    {os.path.join(patches, '')} ({count:,} files)")
  return 0


def run() -> None:
  command.run(main, "checkpoint", "images", "output")


if __name__ == "__main__":
  run()

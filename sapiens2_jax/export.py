r"""Writes an encoder or a task model for PyTorch or ONNX.

    sapiens2 export --checkpoint runs/quickstart --format transformers \
      --output hf/

`reference` writes one file sapiens2_SIZE_pretrain.safetensors, or
sapiens2_SIZE_TASK...; `transformers` a directory for from_pretrained, in files
of at most 5 GB; `onnx` model.onnx with its weights beside it, in float32 for
images of one size. Tensors are copied one by one: any size needs little memory,
but for ONNX. Other files in DIR stay, also a README.md that was edited. The
same command again does nothing if all files have the SHA-256 that is in
export.json, and replaces them otherwise.
"""

import os

import jax
from absl import flags

from data_pipelines.common import memory, storage
from sapiens2_jax import command
from sapiens2_jax.interop import exports, integrity, model_card, onnx_export
from sapiens2_jax.interop import weights as weights_lib
from sapiens2_jax.interop.convert import num_params
from sapiens2_jax.interop.weights import ENCODERS, Found, Weights

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_FORMAT = flags.DEFINE_enum("format", None, exports.FORMATS, "Who reads it.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.")
_WEIGHTS = flags.DEFINE_enum(
  "weights", "teacher", ENCODERS, "Which encoder of a pretraining workdir."
)
_DTYPE = flags.DEFINE_enum(
  "dtype", None, ["float32", "bfloat16"], "Of the tensors; default: as stored."
)

ONNX_USE = """\
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({file!r})
images = np.zeros({shape}, np.float32)  # RGB, ImageNet-normalised
{outputs} = session.run({names}, {{"images": images}})
"""


def announce(output: str, name: str, found: Found, weights: Weights) -> None:
  """Prints what was written and how it is read."""
  marker = integrity.read_marker(output, exports.MARKER)
  path, kind = os.path.join(output, name), marker["format"]
  what = f"{weights.architecture.name} {weights.task or 'encoder'}"
  count = num_params(weights.params)
  print(f"source     {found.description}")
  print(f"model      {what}, {count:,} parameters, {marker['dtype']}")
  for file, sha256 in marker["sha256"].items():
    if not file.endswith(".json"):
      size = marker["files"][file]
      print(f"wrote      {output}/{file} ({size:,} bytes, sha256 {sha256})")
  if kind == "onnx":
    use = _onnx_use(marker, path)
  else:
    use = _torch_use(marker, output, path, weights)
  print("".join(f"  {line}\n" for line in use.splitlines()), end="")
  if kind != "reference" and not storage.is_remote(output):
    print(
      f"next       sapiens2 verify --checkpoint {output} "
      f"--against {found.path} "
      f"--output {os.path.join(output, 'verify.json')}"
    )


def _torch_use(marker: dict, output: str, path: str, weights: Weights) -> str:
  if marker["card"] is None:
    print(
      f"kept       {output}/{exports.CARD}, which export did not write or "
      "somebody edited; without it, export writes a new one"
    )
  kind = marker["format"]
  place = _disk_path(path if kind == "reference" else output)
  needed = "" if kind == "reference" else " (pip install torch transformers)"
  print(f"PyTorch{needed}")
  return model_card.usage(weights, kind, place)


def _disk_path(path: str) -> str:
  """Where others, who read disks only, have it; of a bucket in a copy."""
  if storage.is_remote(path):
    print("others     read disks only: copy it to one")
    return os.path.basename(storage.absolute(path))
  return os.path.abspath(path)


def _onnx_use(marker: dict, path: str) -> str:
  outputs = marker["outputs"]
  for name, shape in {**marker["inputs"], **outputs}.items():
    print(f"{name:10} {' x '.join(map(str, shape))}")
  print(f"ONNX       opset {marker['opset']} (pip install onnxruntime)")
  return ONNX_USE.format(
    file=_disk_path(path),
    shape=(1, *marker["inputs"][onnx_export.INPUT_NAME][1:]),
    outputs=", ".join(outputs) + "," * (len(outputs) == 1),
    names=list(outputs),
  )


def main() -> None:
  # Weights are only copied: no accelerator is needed, or waited for.
  jax.config.update("jax_platforms", "cpu")
  memory.keep_freed_memory(shared=True)
  found = weights_lib.find_weights(_CHECKPOINT.value, _WEIGHTS.value)
  request = exports.make_request(found, _FORMAT.value, _DTYPE.value)
  output = _OUTPUT.value
  if _FORMAT.value == "onnx":
    onnx_export.check(_DTYPE.value)
  damage = exports.find_damage(output, request)
  if damage == []:
    print(f"already exported: {output}")
    return
  for problem in damage or ():
    print(f"made anew  {problem}")
  exports.check_output(output, _FORMAT.value)
  weights = weights_lib.read_weights(found)
  name = exports.write_export(output, found, weights, request)
  announce(output, name, found, weights)


def run() -> None:
  command.run(main, "checkpoint", "format", "output")


if __name__ == "__main__":
  run()

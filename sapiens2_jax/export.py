r"""Writes an encoder, or a fine-tuned model, for PyTorch or ONNX.

    python -m sapiens2_jax.export --checkpoint WORKDIR --output DIR \
      --format transformers

`--checkpoint` is a training workdir (its newest checkpoint is taken) or
anything else that `load_pretrained` and `load_task` read. `reference` writes
one file `sapiens2_SIZE_pretrain.safetensors`, or `sapiens2_SIZE_TASK...`;
`transformers` a directory for from_pretrained, `onnx` model.onnx with its
weights beside it, in float32 for images of one size. The same command again
does nothing.
"""

import os

import jax
from absl import flags

from data_pipelines.common import directories
from sapiens2_jax import command
from sapiens2_jax.interop import exports, onnx_export
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

TRANSFORMERS_USE = """\
import torch, transformers
model = transformers.{loader}.from_pretrained({directory!r}).eval()
images = torch.zeros(1, 3, {height}, {width})  # RGB, ImageNet-normalised
"""
ENCODER_OUTPUTS = """\
tokens = model(images).last_hidden_state  # [cls], registers, patches
"""
REFERENCE_USE = """\
import safetensors.torch
state_dict = safetensors.torch.load_file({file!r})
"""
ONNX_USE = """\
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({file!r})
images = np.zeros({shape}, np.float32)  # RGB, ImageNet-normalised
{outputs} = session.run({names}, {{"images": images}})
"""


def announce(output: str, name: str, found: Found, weights: Weights) -> None:
  """Prints what was written and how it is read."""
  marker = directories.read_marker(output, exports.MARKER)
  path = os.path.join(output, name)
  count = num_params(weights.params)
  print(f"source     {found.description}")
  what = f"{weights.architecture.name} {weights.task or 'encoder'}"
  print(f"model      {what}, {count:,} parameters, {marker['dtype']}")
  for written, sha256 in marker["sha256"].items():
    size, place = marker["files"][written], os.path.join(output, written)
    print(f"wrote      {place} ({size:,} bytes, sha256 {sha256})")
  if marker["format"] == "onnx":
    outputs = marker["outputs"]
    for kind, shape in {**marker["inputs"], **outputs}.items():
      print(f"{kind:10} {' x '.join(map(str, shape))}")
    use = ONNX_USE.format(
      file=os.path.abspath(path),
      shape=(1, *marker["inputs"][onnx_export.INPUT_NAME][1:]),
      outputs=", ".join(outputs) + "," * (len(outputs) == 1),
      names=list(outputs),
    )
    print(f"ONNX       opset {marker['opset']} (pip install onnxruntime)")
  elif marker["format"] == "reference":
    print("PyTorch")
    use = REFERENCE_USE.format(file=os.path.abspath(path))
  else:
    height, width = weights.image_size
    theirs = weights.head and weights.head.kind.transformers
    use = TRANSFORMERS_USE.format(
      loader=theirs.class_name if theirs else "AutoModel",
      directory=os.path.abspath(output),
      height=height,
      width=width,
    )
    use += theirs.example if theirs else ENCODER_OUTPUTS
    print("PyTorch (pip install torch transformers)")
  print("".join(f"  {line}\n" for line in use.splitlines()), end="")
  if marker["format"] != "reference":
    print(
      f"next       python -m sapiens2_jax.verify_export --export {output} "
      f"--checkpoint {found.path} "
      f"--output {os.path.join(output, 'verify.json')}"
    )


def main() -> None:
  # Weights are only copied: no accelerator is needed, or waited for.
  jax.config.update("jax_platforms", "cpu")
  found = weights_lib.find_weights(_CHECKPOINT.value, _WEIGHTS.value)
  request = {
    "format": _FORMAT.value,
    "source": os.path.abspath(found.path),
    "fingerprint": found.fingerprint,
    "step": found.step,
    "weights": found.weights,
    "dtype": _DTYPE.value,
  }
  output = _OUTPUT.value
  if _FORMAT.value == "onnx":
    onnx_export.check(_DTYPE.value)
  if exports.is_done(output, request):
    print(f"already exported: {output}")
    return
  directories.check_output(
    output, exports.MARKER, kind=exports.KIND, format=_FORMAT.value
  )
  weights = weights_lib.read_weights(found)
  name = exports.write_export(output, found, weights, request)
  announce(output, name, found, weights)


if __name__ == "__main__":
  command.run(main, "checkpoint", "format", "output")

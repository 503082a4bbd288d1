r"""Writes an encoder, or a fine-tuned model, for PyTorch.

    python -m sapiens2_jax.export --checkpoint WORKDIR --output DIR \
      --format transformers

`--checkpoint` is a training workdir (its newest checkpoint is taken) or
anything else that `load_pretrained` and `load_task` read. `reference` writes
one file `sapiens2_SIZE_pretrain.safetensors`, or `sapiens2_SIZE_TASK...`;
`transformers` a directory for from_pretrained, in files of at most 5 GB.
Tensors are read and written one by one: any size needs little memory. Other
files in DIR stay, also a README.md that was edited. The same command again
does nothing.
"""

import os

import jax
from absl import flags

from data_pipelines.common import directories, memory
from sapiens2_jax import command
from sapiens2_jax.interop import exports, model_card
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


def announce(output: str, name: str, found: Found, weights: Weights) -> None:
  """Prints what was written and how it is read in PyTorch."""
  marker = directories.read_marker(output, exports.MARKER)
  path, kind = os.path.join(output, name), marker["format"]
  what = f"{weights.architecture.name} {weights.task or 'encoder'}"
  count = num_params(weights.params)
  print(f"source     {found.description}")
  print(f"model      {what}, {count:,} parameters, {marker['dtype']}")
  for file, sha256 in marker["sha256"].items():
    if file.endswith(".safetensors"):
      size = marker["files"][file]
      print(f"wrote      {output}/{file} ({size:,} bytes, sha256 {sha256})")
  if marker["card"] is None:
    print(
      f"kept       {output}/{exports.CARD}, which export did not write or "
      "somebody edited; without it, export writes a new one"
    )
  is_reference = kind == "reference"
  print(f"PyTorch{'' if is_reference else ' (pip install torch transformers)'}")
  use = model_card.usage(
    weights, kind, os.path.abspath(path if is_reference else output)
  )
  print("".join(f"  {line}\n" for line in use.splitlines()), end="")
  if not is_reference:
    print(
      f"next       python -m sapiens2_jax.verify_export --export {output} "
      f"--checkpoint {found.path} "
      f"--output {os.path.join(output, 'verify.json')}"
    )


def main() -> None:
  # Weights are only copied: no accelerator is needed, or waited for.
  jax.config.update("jax_platforms", "cpu")
  memory.keep_freed_memory(shared=True)
  found = weights_lib.find_weights(_CHECKPOINT.value, _WEIGHTS.value)
  request = exports.make_request(found, _FORMAT.value, _DTYPE.value)
  output = _OUTPUT.value
  if exports.is_done(output, request):
    print(f"already exported: {output}")
    return
  exports.check_output(output, _FORMAT.value)
  weights = weights_lib.read_weights(found)
  name = exports.write_export(output, found, weights, request)
  announce(output, name, found, weights)


if __name__ == "__main__":
  command.run(main, "checkpoint", "format", "output")

r"""Compares an export with its checkpoint.

    sapiens2 verify --checkpoint hf/ --against runs/quickstart \
      --output check.json

Ends with code 1 if a key does not fit, or if numbers differ by more than 2e-5
for features and 1e-4 for outputs of a task or of ONNX Runtime (float32, both
RoPE tables float32). Of outputs above 1 that is a part of the largest.
"""

import json

import jax
from absl import flags

from data_pipelines.common import files
from sapiens2_jax import command
from sapiens2_jax.interop.verification import verify

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "An export")
_AGAINST = flags.DEFINE_string("against", None, "What was exported")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
_IMAGES = flags.DEFINE_string(
  "images", None, "Also compare on photographs of this folder or corpus."
)


def main() -> int:
  jax.config.update("jax_platforms", "cpu")
  try:
    result = verify(_CHECKPOINT.value, _AGAINST.value, _IMAGES.value)
  except ModuleNotFoundError as error:
    if error.name not in ("torch", "transformers"):
      raise
    name = error.name
    command.fail(f"{name} is not installed: pip install torch transformers")
  files.write_json(_OUTPUT.value, result)
  print(json.dumps(result, indent=2))
  return 0 if result["passed"] else 1


def run() -> None:
  command.run(main, "checkpoint", "against", "output")


if __name__ == "__main__":
  run()

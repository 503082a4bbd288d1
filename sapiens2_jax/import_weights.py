r"""Turns released weights into a checkpoint of ours.

    sapiens2 import --checkpoint sapiens2_toy_pretrain.safetensors \
      --output imported/

Reads safetensors in reference or transformers keys, one file or shards, of
encoders and of task models; prefixes on all keys and names of PyTorch's
wrappers (`module.`, `_orig_mod.`) are taken off. All verbs that have
--checkpoint read DIR, and so does the config field model.init_from. Values and
their dtype are kept exactly, and any size needs little memory.
"""

import jax
from absl import flags

from data_pipelines.common import memory
from sapiens2_jax import command
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import weights as weights_lib
from sapiens2_jax.interop.convert import num_params

_CHECKPOINT = flags.DEFINE_string(
  "checkpoint", None, "Safetensors file or directory."
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.")


def main() -> None:
  # Weights are only copied: no accelerator is needed, or waited for.
  jax.config.update("jax_platforms", "cpu")
  memory.keep_freed_memory(shared=True)
  output = _OUTPUT.value
  found = weights_lib.find_weights(_CHECKPOINT.value)
  if found.kind != "tensors":
    raise ValueError(f"{found.path}: holds our own checkpoint, not a release")
  weights_lib.check_import_output(output)
  weights = weights_lib.read_weights(found)
  weights_lib.write_import(output, weights, found)
  size, what = weights.architecture.name, weights.task or "encoder"
  count = num_params(weights.params)
  dtype = weights.encoder_params["cls_token"].dtype
  print(f"source     {found.description}")
  if weights.removed:
    print(f"removed    {' '.join(weights.removed)} from its keys")
  print(f"model      {size} {what}, {count:,} parameters, {dtype}")
  print(f"wrote      {output}")
  if size in ARCHITECTURES:
    experiment = f"continue:size={size}"
    if weights.task:
      experiment = f"finetune:task={weights.task},size={size}"
    print(
      "next       sapiens2 train --workdir WORKDIR --config "
      f"{experiment} --config.data.path=DATA "
      f"--config.model.init_from={output}"
    )


def run() -> None:
  command.run(main, "checkpoint", "output")


if __name__ == "__main__":
  run()

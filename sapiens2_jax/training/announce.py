"""What a run says about itself at its start and end."""

import os

import jax
from ml_collections import ConfigDict

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.training import flops


def facts(config: ConfigDict, mesh, source, abstract, workdir: str) -> None:
  """Prints what is known before anything is compiled."""
  arch = get_architecture(config.model.size)
  learned = sum(x.size for x in jax.tree.leaves(abstract.params))
  axes = " x ".join(f"{axis}={n}" for axis, n in mesh.shape.items())
  per_step = flops.useful_flops(config) * config.data.global_batch_size
  print(
    f"model      {arch.name}: encoder {arch.num_params:,} parameters, "
    f"{learned:,} learned in all\n"
    f"mesh       {axes} on {jax.devices()[0].device_kind}\n"
    f"batch      {config.data.global_batch_size} images in "
    f"{config.data.accumulation_steps} microbatch(es)\n"
    f"compute    {per_step / 1e12:.3g} TFLOP a step (useful, closed form)\n"
    f"data       {config.data.path}: {len(source):,} images\n"
    f"workdir    {workdir}",
    flush=True,
  )


def results(config: ConfigDict, workdir: str) -> None:
  """Prints where the results are, and what comes next."""
  print(f"results    {workdir}")
  if "task" in config:
    print(f"next       python -m sapiens2_jax.report --workdir {workdir}")
    return
  output = os.path.join(workdir, "export")
  print(
    f"next       python -m sapiens2_jax.export --checkpoint {workdir} "
    f"--format transformers --output {output}"
  )

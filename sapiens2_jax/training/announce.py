"""What a run says about itself at its start and end."""

import jax
from ml_collections import ConfigDict

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models import partition
from sapiens2_jax.models.attention import choose_backend
from sapiens2_jax.models.from_config import compute_dtype
from sapiens2_jax.training import freezing, stages
from sapiens2_jax.training.objective import Objective


def facts(objective: Objective, mesh, source, abstract, workdir: str) -> None:
  """Prints what is known before anything is compiled."""
  config = objective.config
  arch = objective.encoder.architecture
  learned = freezing.count_learned(
    abstract.params, config.optim.get("frozen_stages", 0)
  )
  axes = " x ".join(f"{axis}={n}" for axis, n in mesh.shape.items())
  costs = stages.describe_costs(objective.stages())
  print(
    f"model      {arch.name}: encoder {arch.num_params:,} parameters, "
    f"{learned:,} learned in all\n"
    f"mesh       {axes} on {jax.devices()[0].device_kind}\n"
    f"attention  {attention(config.model)}\n"
    f"batch      {config.data.global_batch_size} images in "
    f"{config.data.accumulation_steps} microbatch(es)\n"
    + "".join(f"compute    {line}\n" for line in costs)
    + f"data       {config.data.path}: {len(source):,} images\n"
    f"workdir    {workdir}",
    flush=True,
  )


def attention(model: ConfigDict) -> str:
  """Which backend computes it, and why, e.g. "cudnn: a GPU that ..."."""
  if model.attention_backend != "auto":
    return f"{model.attention_backend}: model.attention_backend says so"
  widths = [get_architecture(model.size).head_dim]
  if "decoder_heads" in model:
    widths.append(model.decoder_dim // model.decoder_heads)
  asked = partition.platform(), compute_dtype(model)
  capability = partition.compute_capability()
  choices = [choose_backend(*asked, width, capability) for width in widths]
  return "; ".join(f"{name}: {why}" for name, why in dict.fromkeys(choices))


def results(workdir: str) -> None:
  """Prints where the results are, and what comes next."""
  print(f"results    {workdir}")
  print(f"next       sapiens2 report --checkpoint {workdir}")

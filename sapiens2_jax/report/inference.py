"""What the student makes of masked photographs."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from sapiens2_jax.evaluation import encoding
from sapiens2_jax.models import batching
from sapiens2_jax.pretrain.objective import PretrainObjective


@functools.partial(jax.jit, static_argnums=0)
def _predict(
  objective: PretrainObjective,
  params: dict,
  patches: Array,
  visible_ids: Array,
  masked_ids: Array,
) -> Array:
  encoder, variables = objective.encoder, {"params": params["encoder"]}
  x, rope = encoder.apply(
    variables, patches, objective.grid, visible_ids, method="tokenize"
  )
  x = encoder.apply(variables, x, rope, method="encode")
  features = x[:, encoder.architecture.num_prefix_tokens :]
  one_view = (x[:, None] for x in (features, visible_ids, masked_ids))
  return objective.reconstruct(params, *one_view).patches[:, 0]


def predict_masked(
  objective: PretrainObjective,
  params: dict,
  patches: Float[np.ndarray, "b n p"],
  visible_ids: Int[np.ndarray, "b k"],
  masked_ids: Int[np.ndarray, "b m"],
) -> Float[np.ndarray, "b m p"]:
  """The student's normalised pixels of the masked patches.

  Args:
    objective: the modules, and the grid of the images.
    params: of `encoder` and `decoder`.
    patches: ImageNet-normalised, of whole images.
    visible_ids: what the encoder may see.
    masked_ids: what the decoder has to predict.
  """
  return batching.map_batches(
    functools.partial(_predict, objective, params),
    encoding.chunk_size(patches.shape[1]),
    *(patches, visible_ids, masked_ids),
  )

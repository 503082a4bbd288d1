"""AdamW with the decay rules of the recipe."""

import jax
import optax
from ml_collections import ConfigDict

# Parameters that are not decayed, by the last part of their name: norms and
# LayerScale, biases, special tokens. There is no position table at 1K.
NO_DECAY = frozenset(
  ("scale", "gamma", "bias", "b12", "cls_token", "registers", "mask_token")
)


def decay_mask(params):
  """True for the parameters that weight decay acts on.

  Source: arXiv 2604.21681 (norms, biases, positional and special tokens);
  LayerScale: ours.
  """

  def is_decayed(path, _):
    names = [getattr(key, "key", None) for key in path]
    last = [name for name in names if isinstance(name, str)][-1]
    return last not in NO_DECAY

  return jax.tree_util.tree_map_with_path(is_decayed, params)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
  """Clip by global norm, Adam moments, decoupled weight decay.

  The step multiplies what this returns by minus the learning rate, which is a
  function of the training step.
  """
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
    optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
  )

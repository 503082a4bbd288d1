"""The terms of the pretraining loss, one module each.

A new term is a module here, a line in `TERMS` and its fields in the schema.
"""

from ml_collections import ConfigDict

from sapiens2_jax.pretrain.terms.base import Term
from sapiens2_jax.pretrain.terms.distillation import Distillation
from sapiens2_jax.pretrain.terms.frozen_teacher import FrozenTeacher
from sapiens2_jax.pretrain.terms.gram import GramAnchoring
from sapiens2_jax.pretrain.terms.koleo import KoLeo
from sapiens2_jax.pretrain.terms.patch_distillation import PatchDistillation
from sapiens2_jax.pretrain.terms.reconstruction import Reconstruction

# By name: the weight of a term is `objective.w_NAME`, its metric `loss_NAME`.
TERMS: dict[str, type[Term]] = {
  "mae": Reconstruction,
  "cl": Distillation,
  "koleo": KoLeo,
  "ibot": PatchDistillation,
  "gram": GramAnchoring,
  "distill": FrozenTeacher,
}


def build_terms(config: ConfigDict) -> dict[str, Term]:
  """The terms whose weight is above 0; the others cost nothing."""
  weights = {name: config.objective[f"w_{name}"] for name in TERMS}
  return {
    name: TERMS[name](config, weight)
    for name, weight in weights.items()
    if weight > 0
  }

"""The joint pretraining objective: a weighted sum of terms over shared views.

    L = w_mae * L_MAE + w_cl * L_CL + w_koleo * L_KoLeo + ...

The student sees masked global views and whole local ones in one encoder call;
the teacher, an EMA of encoder and heads, sees whole global views.

Source: arXiv 2604.21681 section 3. Layouts are batch-major, (b, v, ...), so
that joining and splitting views never moves data between devices.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import einops
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.sources import ImageSource
from sapiens2_jax import errors
from sapiens2_jax.evaluation import online
from sapiens2_jax.models.decoder import DecoderOutput
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.from_config import build_encoder
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.pretrain import collapse, stages
from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.pretrain.masks import num_masked
from sapiens2_jax.pretrain.modules import Learned, Sizes
from sapiens2_jax.pretrain.terms import Term, build_terms
from sapiens2_jax.pretrain.terms.base import StudentOutputs, TeacherOutputs
from sapiens2_jax.pretrain.views import Batch, Views
from sapiens2_jax.training import flops
from sapiens2_jax.training.objective import FrozenEncoder, Measurement, Stage
from sapiens2_jax.training.state import TrainState, overlay
from sapiens2_jax.training.step import jit_encode

RANK_SAMPLES = 256  # images that RankMe is measured on
# Keys of the first version, so that a seed still gives the weights it gave.
_FIRST_MODULES = ("encoder", "decoder", "head")


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainObjective:
  """See `training.objective.Objective`.

  Attributes:
    config: the resolved experiment (see experiments/pretrain.py).
    encoder: its parameters are `params["encoder"]`.
    terms: of the loss, by name.
  """

  config: ConfigDict
  encoder: Encoder
  terms: dict[str, Term]
  encoder_names = ("teacher", "student")

  @functools.cached_property
  def grid(self) -> TokenGrid:
    """Of a global view of the last stage, and of images that are probed."""
    return self.encoder.grid(tuple(self.config.data.image_size))

  @property
  def frozen_encoders(self) -> dict[str, FrozenEncoder]:
    terms = self.terms.values()
    return {n: x for term in terms for n, x in term.frozen_encoders.items()}

  @property
  def modules(self) -> dict[str, Learned]:
    """Those that the terms share, by name."""
    terms = self.terms.values()
    return {name: x for term in terms for name, x in term.modules().items()}

  def init(self, rng: PRNGKeyArray) -> dict:
    first = dict(zip(_FIRST_MODULES, jax.random.split(rng, 3)))
    side = self.grid.pixels_per_token
    image = jnp.zeros((1, side, side, 3))
    params = {"encoder": self.encoder.init(first["encoder"], image)["params"]}
    for name, (module, inputs) in self.modules.items():
      key = first.get(name)
      if key is None:
        key = jax.random.fold_in(rng, zlib.crc32(name.encode()))
      params[name] = module.init(key, *inputs)["params"]
    return params

  def init_teacher_state(
    self, params: dict, restored: dict | None = None
  ) -> dict:
    restored, names, statistics = restored or {}, {"encoder": None}, {}
    for term in self.terms.values():
      names |= dict.fromkeys(term.teacher_modules)
    student = {name: params[name] for name in names}
    teacher = overlay(student, restored.get("teacher", {}))
    for term in self.terms.values():
      statistics |= term.init_statistics({**params, **teacher})
    made = {"teacher": jax.tree.map(jnp.copy, teacher), **statistics}
    return overlay(made, restored)

  def make_views(self, batch: Batch, rng: PRNGKeyArray) -> Views:
    """What teacher and student see of a microbatch."""
    return Views(batch, rng, self.config, self.encoder)

  def compute_targets(
    self, teacher_state: dict, batches: Batch, step: Array, rng: PRNGKeyArray
  ) -> tuple[dict, dict, dict]:
    def project(batch: Batch) -> dict:
      outputs = self._teacher_outputs(teacher_state["teacher"], batch, rng)
      if outputs is None:
        return dict.fromkeys(self.terms, ())
      return {
        name: term.project(outputs, teacher_state, step)
        for name, term in self.terms.items()
      }

    with jax.named_scope("teacher"):
      projected = map_microbatches(project, batches)
    targets, statistics, metrics = {}, {}, {}
    for name, term in self.terms.items():
      targets[name], statistics[name], more = term.targets(
        projected[name], teacher_state, step
      )
      metrics |= more
    return targets, statistics, metrics

  def loss(
    self,
    params: dict,
    batch: Batch,
    targets: dict,
    rng: PRNGKeyArray,
    measure: Array,
  ) -> tuple[Array, dict]:
    student = self._student_outputs(params, self.make_views(batch, rng))
    total, metrics = 0, {}
    for name, term in self.terms.items():
      loss, more = term.loss(student, targets[name])
      total += term.weight * loss
      metrics |= {f"loss_{name}": loss, **more}
    features = lax.stop_gradient(student.cls[:, 0])
    rank_me = lax.cond(
      measure,
      collapse.rank_me,
      lambda _: jnp.float32(jnp.nan),
      features[:RANK_SAMPLES],
    )
    metrics |= {
      "loss": total,
      "feature_std": collapse.feature_std(features),
      "rank_me": rank_me,
    }
    return total, metrics

  def update_teacher_state(
    self, teacher_state: dict, params: dict, statistics: dict
  ) -> dict:
    momentum = self.config.objective.teacher_momentum

    def average(old: Array, new: Array) -> Array:
      return old * momentum + new * (1 - momentum)

    student = {name: params[name] for name in teacher_state["teacher"]}
    teacher = jax.tree.map(average, teacher_state["teacher"], student)
    state = {"teacher": teacher}
    for name, term in self.terms.items():
      state |= term.update_statistics(teacher_state, statistics[name], teacher)
    return state

  @staticmethod
  def encoder_params(state: Any, which: str | None = None) -> dict:
    trees = {
      "teacher": lambda: state.teacher_state["teacher"]["encoder"],
      "student": lambda: state.params["encoder"],
    }
    return errors.lookup(trees, which or "teacher", "encoder")()

  def example_maker(self) -> PretrainExamples:
    return PretrainExamples(
      crop_config(self.config),
      seed=self.config.seed,
      max_pixels=self.config.data.max_pixels,
    )

  def check_source(self, source: ImageSource, given: str) -> None:
    """Any photograph can be learned from."""

  def measurement(self, mesh: Mesh, abstract: TrainState) -> Measurement | None:
    """Ridge regression and retrieval on features of the teacher."""
    probes, data = self.config.probes, self.config.data
    if not probes.every:
      return None
    encode = jit_encode(self, self.config, mesh, abstract)
    dataset = online.load(self.config, encode.part)
    batch_size = data.global_batch_size // data.accumulation_steps

    def run(state: TrainState, on_progress, _) -> dict[str, float]:
      teacher = self.encoder_params(state)
      return online.measure(
        dataset,
        functools.partial(encode, teacher),
        batch_size=batch_size // encode.part.count,
        on_progress=on_progress,
      )

    # Of weights that exist: what the run makes of them is seen.
    is_first = bool(self.config.model.init_from)
    return Measurement("probe", probes.every, run, is_first)

  def flops(self) -> int:
    arch, data = self.encoder.architecture, self.config.data
    patches = self.grid.num_tokens
    local = self.encoder.grid(tuple(data.local_size)).num_tokens
    masked = num_masked(patches, self.config.masking.mask_ratio)
    num_local = data.num_local if self._reads("local_views") else 0
    sizes = Sizes(data.num_global, num_local, patches, patches - masked, masked)

    prefix, visible = arch.num_prefix_tokens, sizes.visible
    student = flops.encoder_flops(arch, visible, visible + prefix)
    student *= sizes.num_global
    student += num_local * flops.encoder_flops(arch, local, 1)
    teacher = 0
    if self._reads("teacher_patches"):
      teacher = flops.encoder_flops(arch, patches, patches + prefix)
    elif self._reads("teacher"):
      teacher = flops.encoder_flops(arch, patches, 1)
    teacher *= sizes.num_global
    for term in self.terms.values():
      learned, frozen = term.flops(sizes)
      student, teacher = student + learned, teacher + frozen
    pixels = sizes.num_global * visible + num_local * local
    return 3 * student - flops.stem_flops(arch, pixels) + teacher

  def stages(self) -> tuple[Stage, ...]:
    *earlier, last = stages.split(self.config)
    built = [
      Stage(first, end, build_pretrain(config))
      for first, end, config in earlier
    ]
    return (*built, Stage(last.first, last.end, self))

  def report(self) -> Callable:
    # Not at the top: it draws, and asks for this module.
    from sapiens2_jax.pretrain.report import contents

    return functools.partial(contents.make_contents, self)

  def reconstruct(
    self,
    params: dict,
    features: Array,
    visible_ids: Array,
    masked_ids: Array,
    grid: TokenGrid,
  ) -> DecoderOutput:
    """What the decoder makes of visible patches (b, v, n, d), for (b, v, m)."""
    given = (features, visible_ids, masked_ids)
    flat = [einops.rearrange(x, "b v ... -> (b v) ...") for x in given]
    out = self.modules["decoder"].module.apply(
      {"params": params["decoder"]}, *flat, grid
    )
    return jax.tree.map(lambda x: x.reshape(*masked_ids.shape, -1), out)

  def _reads(self, what: str) -> bool:
    return any(getattr(t, f"reads_{what}") for t in self.terms.values())

  def _teacher_outputs(
    self, teacher: dict, batch: Batch, rng: PRNGKeyArray
  ) -> TeacherOutputs | None:
    with_patches = self._reads("teacher_patches")
    with_cls = with_patches or self._reads("teacher")
    if not (with_cls or self._reads("whole_views")):
      return None
    views, cls, patches = self.make_views(batch, rng), None, None
    encode = functools.partial(self._encode_whole, views.patches, views.grid)
    if with_cls:
      cls, patches = encode(teacher["encoder"], with_patches=with_patches)
    return TeacherOutputs(teacher, views, cls, patches, encode)

  def _encode_whole(
    self,
    pixels: Float[Array, "b g n p"],
    grid: TokenGrid,
    params: dict,
    encoder: Encoder | None = None,
    with_patches: bool = True,
  ) -> tuple[Array, Array | None]:
    """[cls] (b, g, d), and patches (b, g, n, d), of whole global views."""
    b, g = pixels.shape[:2]
    encoder = encoder or self.encoder
    apply = functools.partial(encoder.apply, {"params": params})
    flat = pixels.reshape(b * g, *pixels.shape[2:])
    tokens = apply(flat, grid, method="tokenize")
    if not with_patches:
      return apply(*tokens, method="encode_cls").reshape(b, g, -1), None
    x = apply(*tokens, method="encode")
    x = x.reshape(b, g, *x.shape[1:])
    return x[:, :, 0], x[:, :, encoder.architecture.num_prefix_tokens :]

  def _student_outputs(self, params: dict, views: Views) -> StudentOutputs:
    """All views through the encoder, in one call."""
    variables = {"params": params["encoder"]}
    tokenize = functools.partial(
      self.encoder.apply, variables, method="tokenize"
    )
    with jax.named_scope("augment"):
      patches, visible_ids = views.patches, views.visible_ids
    x, rope = tokenize(patches, views.grid, visible_ids)
    if self._reads("local_views"):
      with jax.named_scope("augment"):
        local = views.local_patches
      local_x, local_rope = tokenize(local, views.local_grid)
      shape = (*local_x.shape[:-1], rope.cos.shape[-1])
      local_rope = jax.tree.map(
        lambda rows: jnp.broadcast_to(rows, shape), local_rope
      )
      x, rope = jax.tree.map(
        lambda *parts: jnp.concatenate(parts, axis=1),
        (x, rope),
        (local_x, local_rope),
      )
    with jax.named_scope("student"):
      tokens, cls = self.encoder.apply(
        variables, x, rope, patches.shape[1], method="encode_views"
      )
    features = tokens[:, :, self.encoder.architecture.num_prefix_tokens :]
    decode = functools.partial(
      self.reconstruct,
      *(params, features, visible_ids, views.masked_ids, views.grid),
    )
    return StudentOutputs(params, views, cls, features, decode)


def map_microbatches(function, batches: dict):
  """Applies `function` to each microbatch; leaves (a, b, ...)."""
  if jax.tree.leaves(batches)[0].shape[0] == 1:
    out = function(jax.tree.map(lambda x: x[0], batches))
    return jax.tree.map(lambda x: x[None], out)
  return lax.map(function, batches)


def matches(config: ConfigDict) -> bool:
  """Whether a config describes pretraining."""
  return "task" not in config


def build_pretrain(config: ConfigDict) -> PretrainObjective:
  """Makes what `config.model` and `config.objective` describe.

  Raises:
    ValueError: if a named choice is unknown, or the config is of a task.
  """
  if not matches(config):
    raise ValueError(
      f"task.name={config.task.name}: expected a config of pretraining."
    )
  return PretrainObjective(
    config, build_encoder(config.model), build_terms(config)
  )

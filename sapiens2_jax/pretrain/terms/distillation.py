"""L_CL: self-distillation of [cls] over prototypes.

Every statistic is one of the GLOBAL batch: under `jit` with sharded inputs
the means and sums below run over all devices.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.pretrain.modules import Learned, Sizes, build_head, head_flops
from sapiens2_jax.pretrain.terms import base
from sapiens2_jax.report.metrics import Note

Rows = Float[ArrayLike, "*b k"]
Row = Float[ArrayLike, "k"]
StudentLogits = Float[ArrayLike, "b v k"]
Targets = Float[ArrayLike, "b g k"]
Temperature = Float[ArrayLike, ""] | float


def center_targets(
  logits: Rows, center: Row, temperature: Temperature
) -> Float[Array, "*b k"]:
  """softmax((logits - center) / temperature). Source: DINO, paper."""
  return jax.nn.softmax((logits - center) / temperature, axis=-1)


def update_center(
  center: Row, batch_mean: Row, momentum: float
) -> Float[Array, "k"]:
  """EMA of the mean teacher logits over the global batch."""
  return center * momentum + batch_mean * (1 - momentum)


def sinkhorn_targets(
  logits: Rows, temperature: Temperature, num_iterations: int = 3
) -> Float[Array, "*b k"]:
  """Assigns samples to prototypes evenly over the whole batch.

  Args:
    logits: of the teacher, for all views of the global batch.
    temperature: of the teacher.
    num_iterations: alternations of column and row normalisation.

  Returns:
    Probabilities over prototypes, each row sums to one.

  Source: DINOv3 (arXiv 2508.10104); in log space, so that no temperature
  overflows: ours.
  """
  # Axes are not joined: of microbatches and their samples, of which devices
  # hold parts, one axis would be whole on each device.
  scores, samples = logits / temperature, tuple(range(jnp.ndim(logits) - 1))
  for _ in range(num_iterations):
    scores = scores - jax.nn.logsumexp(scores, axis=samples, keepdims=True)
    scores = scores - jax.nn.logsumexp(scores, axis=-1, keepdims=True)
  return jnp.exp(scores)


def pair_cross_entropy(
  student_logits: StudentLogits, targets: Targets, temperature: float
) -> Float[Array, "g v"]:
  """H(target of global view i, student view j), averaged over the batch.

  As each target sums to one, H = logsumexp(s) - target . s: no log-softmax of
  65536 prototypes is written to memory.
  """
  scores = student_logits.astype(jnp.float32) / temperature
  targets = lax.stop_gradient(targets)
  agreement = jnp.einsum("bgk,bvk->gv", targets, scores) / len(scores)
  return jnp.mean(jax.nn.logsumexp(scores, axis=-1), axis=0) - agreement


def distillation_loss(
  student_logits: StudentLogits, targets: Targets, temperature: float
) -> Float[Array, ""]:
  """Mean cross-entropy in nats over all pairs of different views.

  Views are ordered global first, and target i belongs to student view i: with
  2 global and 4 local views, 2 + 2 * 4 = 10 pairs.

  Source: arXiv 2604.21681.
  """
  pairs = pair_cross_entropy(student_logits, targets, temperature)
  num_targets, num_views = pairs.shape
  different = ~jnp.eye(num_targets, num_views, dtype=bool)
  return jnp.mean(pairs, where=different)


def entropy(probabilities: Rows) -> Float[Array, ""]:
  """Mean entropy in nats; 0 and log(k) both mean collapse."""
  log = jnp.log(jnp.maximum(probabilities, jnp.finfo(jnp.float32).tiny))
  return -jnp.mean(jnp.sum(probabilities * log, axis=-1))


def _sinkhorn(logits: Array, center: Array, temperature: Array) -> Array:
  return sinkhorn_targets(logits, temperature)


# By `objective.target`: teacher logits to probabilities.
TARGETS = {"center": center_targets, "sinkhorn": _sinkhorn}


def teacher_temperature(objective: ConfigDict, step: Array) -> Array:
  """Linear from `teacher_temp_start` to `teacher_temp`, then constant."""
  progress = jnp.clip(step / max(1, objective.teacher_temp_steps), 0.0, 1.0)
  change = objective.teacher_temp - objective.teacher_temp_start
  return objective.teacher_temp_start + change * progress


class PrototypeTerm(base.Term):
  """A term whose student predicts the teacher's probabilities of prototypes.

  Attributes:
    head: name of its projection head.
    center: name of the mean of the teacher's logits in the statistics.
    entropy: name of the metric of the targets' entropy.
  """

  head, center, entropy = "head", "center", "teacher_entropy"

  def modules(self) -> dict[str, Learned]:
    return {self.head: build_head(self.config)}

  def init_statistics(self, params: dict) -> dict:
    return {self.center: jnp.zeros((self.config.model.prototypes,))}

  def targets(self, projected: Array, statistics: dict, step: Array):
    objective = self.config.objective
    temperature = teacher_temperature(objective, step)
    make = errors.lookup(TARGETS, objective.target, "objective.target")
    targets = make(projected, statistics[self.center], temperature)
    metrics = self.measure(targets, temperature)
    mean = jnp.mean(projected, axis=tuple(range(projected.ndim - 1)))
    return targets, mean, metrics

  def measure(self, targets: Array, temperature: Array) -> dict[str, Array]:
    return {self.entropy: entropy(targets)}

  def update_statistics(self, statistics: dict, found: Array, teacher: dict):
    momentum = self.config.objective.center_momentum
    center = statistics[self.center]
    return {self.center: update_center(center, found, momentum)}

  def notes(self) -> dict[str, Note]:
    count = self.config.model.prototypes
    reference = math.log(count), f"log K = {math.log(count):.3f}"
    return {
      "loss": Note(
        f"cross-entropy in nats over K = {count} prototypes; log K is what a "
        "student that tells nothing apart would have.",
        *reference,
      ),
      self.entropy: Note(
        "in nats; at 0 (always one prototype) or at log K (all prototypes "
        "alike) the teacher teaches nothing.",
        *reference,
      ),
    }

  def logits(self, params: dict, features: Array) -> Array:
    head = build_head(self.config).module
    return head.apply({"params": params[self.head]}, features)

  def logits_of_views(self, params: dict, features: Array) -> Array:
    """Of (b, v, ..., d), in the encoder's rows: views stay on their device."""
    rows = features.reshape(-1, *features.shape[2:])
    return self.logits(params, rows).reshape(*features.shape[:-1], -1)


class Distillation(PrototypeTerm):
  """L_CL: all views of an image predict the teacher's prototypes of it."""

  reads_local_views = True
  reads_teacher = True
  teacher_modules = ("head",)

  def project(self, teacher: base.TeacherOutputs, *_) -> Array:
    return self.logits_of_views(teacher.params, teacher.cls)

  def measure(self, targets: Array, temperature: Array) -> dict[str, Array]:
    return {
      **super().measure(targets, temperature),
      "teacher_temp": temperature,
    }

  def loss(self, student: base.StudentOutputs, targets: Targets):
    with jax.named_scope("head"):
      logits = self.logits(student.params, student.cls)
      temperature = self.config.objective.student_temp
      return distillation_loss(logits, targets, temperature), {}

  def flops(self, sizes: Sizes) -> tuple[int, int]:
    head = head_flops(self.config)
    views = sizes.num_global + sizes.num_local
    return views * head, sizes.num_global * head

  def notes(self) -> dict[str, Note]:
    return {**super().notes(), "teacher_temp": Note(form="{:.4f}")}

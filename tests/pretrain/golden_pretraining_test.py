"""The losses against stored outputs of the DINOv3 and MAE code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models.pixels import patchify
from sapiens2_jax.models.projection_head import ProjectionHead
from sapiens2_jax.pretrain.terms import distillation, reconstruction
from sapiens2_jax.pretrain.terms.koleo import koleo_loss
from tests import golden

GOLDEN = golden.load("golden_pretraining")
B, K, D = GOLDEN["B"], GOLDEN["K"], GOLDEN["D"]
TEACHER_TEMP, STUDENT_TEMP = 0.07, 0.1


def rnd(shape, seed):
  return golden.rnd(shape, seed).astype(np.float32)


TEACHER = 3 * rnd((2 * B, K), 4000)  # two global views, view-major
STUDENT = rnd((6, B, K), 4001).transpose(1, 0, 2)  # to (b, v, k)
CENTER = 0.5 * rnd((1, K), 4002)[0]


def batch_major(x):
  return np.asarray(x).reshape(2, B, K).transpose(1, 0, 2)


def test_centered_targets():
  probs = distillation.center_targets(TEACHER, CENTER, TEACHER_TEMP)
  expected = np.reshape(GOLDEN["teacher_probs_centered"], probs.shape)
  np.testing.assert_allclose(probs, expected, rtol=1e-4, atol=1e-7)


def test_center_update():
  center = distillation.update_center(
    jnp.asarray(CENTER), jnp.asarray(TEACHER.mean(0)), 0.9
  )
  expected = GOLDEN["center_after_update"]
  np.testing.assert_allclose(center, expected, atol=1e-6)


def test_sinkhorn_targets():
  probs = distillation.sinkhorn_targets(TEACHER, TEACHER_TEMP, 3)
  expected = np.reshape(GOLDEN["teacher_probs_sinkhorn3"], probs.shape)
  np.testing.assert_allclose(probs, expected, rtol=1e-4, atol=1e-7)
  np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("target", ["centered", "sinkhorn"])
def test_cross_entropy_over_pairs(target):
  probs = batch_major(
    distillation.center_targets(TEACHER, CENTER, TEACHER_TEMP)
    if target == "centered"
    else distillation.sinkhorn_targets(TEACHER, TEACHER_TEMP, 3)
  )
  pairs = distillation.pair_cross_entropy(STUDENT, probs, STUDENT_TEMP)
  expected = GOLDEN[f"ce_{target}"]
  cross = (pairs[0, 1] + pairs[1, 0]) / 2
  np.testing.assert_allclose(
    cross, expected["global_only_cross_pairs"], rtol=1e-5
  )
  np.testing.assert_allclose(
    pairs[:, 2:].mean(), expected["local_pairs"], rtol=1e-5
  )
  loss = distillation.distillation_loss(STUDENT, probs, STUDENT_TEMP)
  np.testing.assert_allclose(loss, expected["mean_over_10_pairs"], rtol=1e-5)


def test_koleo():
  features = rnd((B, D), 4003)
  loss = koleo_loss(features, group_size=B)
  np.testing.assert_allclose(loss, GOLDEN["koleo"], rtol=1e-5)


def test_koleo_with_a_duplicate_is_finite():
  features = rnd((B, D), 4003)
  features[1] = features[0]
  loss = koleo_loss(features, group_size=B)
  # The distance of duplicates is eps-sized: float32 order of operations shows.
  np.testing.assert_allclose(loss, GOLDEN["koleo_with_a_duplicate"], rtol=1e-3)


def test_projection_head():
  spec = GOLDEN["head"]
  tensors = {}
  for t, (key, shape) in enumerate(zip(spec["keys"], spec["shapes"])):
    values = golden.rnd(tuple(shape), 4100 + t)
    scale = 0.1 if key.endswith("bias") else np.sqrt(3 / shape[1])
    tensors[key] = (scale * values).astype(np.float32)
  params = {
    f"mlp_{i}": {
      "kernel": tensors[f"mlp.{2 * i}.weight"].T,
      "bias": tensors[f"mlp.{2 * i}.bias"],
    }
    for i in range(3)
  }
  params["prototypes"] = {"kernel": tensors["last_layer.weight"].T}
  head = ProjectionHead(num_prototypes=K, hidden_dim=16, bottleneck_dim=6)
  out = head.apply({"params": params}, rnd((5, D), 4003))
  expected = np.reshape(spec["output"], out.shape)
  np.testing.assert_allclose(out, expected, atol=2e-6)


def test_reconstruction():
  spec = GOLDEN["mae"]
  images = rnd((2, 3, 16, 12), 4200).transpose(0, 2, 3, 1)
  patches = patchify(jnp.asarray(images), spec["patch_size"])
  target = reconstruction.normalize_patches(patches)
  np.testing.assert_allclose(
    target[0, 0], spec["target_first_patch"], atol=2e-6
  )
  errors = reconstruction.patch_errors(rnd((2, 12, 48), 4201), patches)
  np.testing.assert_allclose(errors.ravel(), spec["per_patch"], rtol=2e-6)
  mask = golden.rnd((2, 12), 4202) > -0.5
  np.testing.assert_allclose(
    jnp.mean(errors, where=mask), spec["loss_over_all_masked"], rtol=2e-6
  )


def test_no_gradient_reaches_the_targets():
  def loss(logits):
    targets = batch_major_jax(jax.nn.softmax(logits / TEACHER_TEMP))
    return distillation.distillation_loss(STUDENT, targets, STUDENT_TEMP)

  def batch_major_jax(x):
    return x.reshape(2, B, K).transpose(1, 0, 2)

  assert not np.any(jax.grad(loss)(jnp.asarray(TEACHER)))

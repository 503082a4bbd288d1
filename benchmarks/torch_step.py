r"""The joint pretraining step in PyTorch, as the peer to measure ours against.

Its layers are in torch_layers.py; the objective around them is written here.
No augmentation: a batch holds normalised crops and patch indices, so that the
same numbers can be given to both frameworks.

Run:    python benchmarks/torch_step.py [--mode eager|compiled] [--repeats 8] \
          [--batch_size 4]
Needs:  torch, transformers (with sapiens2)
"""

import argparse
import copy
import json
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_layers import (
  NUM_PREFIX,
  Decoder,
  ProjectionHead,
  encode,
  patchify,
  rope_table,
  sapiens2_config,
  take,
)
from transformers.models.sapiens2.modeling_sapiens2 import Sapiens2Model


def masked_pixel_loss(prediction, patches, masked_ids):
  """Mean squared error of normalised pixels over the masked patches."""
  target = take(patches, masked_ids)
  var, mean = torch.var_mean(target, dim=-1, keepdim=True)  # unbiased
  target = (target - mean) * torch.rsqrt(var + 1e-6)
  return (take(prediction, masked_ids) - target).square().mean()


def contrastive_loss(student, teacher_probs, num_global, temperature):
  """Mean cross-entropy over teacher view j -> student view i, i != j.

  `student` is (views, b, k) with the global views first, `teacher_probs`
  (num_global, b, k).
  """
  log_probs = F.log_softmax(student / temperature, dim=-1)
  views, b, _ = student.shape
  pairs = -torch.einsum("jbk,ibk->ji", teacher_probs, log_probs) / b
  same = torch.eye(num_global, views, device=pairs.device)
  return (pairs * (1 - same)).sum() / (num_global * (views - 1))


def koleo_loss(features, eps=1e-8):
  """Minus the mean log distance of each row to its nearest neighbour."""
  x = F.normalize(features, dim=-1, eps=eps)
  with torch.no_grad():
    similarity = x @ x.T
    similarity.fill_diagonal_(-1)
    nearest = similarity.argmax(dim=1)
  distance = F.pairwise_distance(x, x[nearest], eps=eps)
  return -torch.log(distance + eps).mean()


def has_no_decay(name):
  """True for norms, biases, special tokens and layer scale."""
  if name.endswith(("bias", "cls_token", "register_tokens", "mask_token")):
    return True
  return "norm" in name or "layer_scale" in name


class PretrainStep(nn.Module):
  """Student, teacher, decoder, heads, optimizer and center of one run.

  Parameters are named `backbone.*` (transformers' Sapiens2Model keys),
  `head.*`, `decoder.*`; the teacher's are `teacher_backbone.*` and
  `teacher_head.*`, and the center is the buffer `center`.
  """

  def __init__(
    self, *, embed_dim, num_layers, num_heads, hidden_dim,
    num_kv_heads_per_layer, decoder_dim, decoder_layers, decoder_heads,
    prototypes, head_hidden, bottleneck, image_size, local_size,
    decoder_hidden, patch_size, layer_scale_init, momentum, center_momentum,
    student_temperature, w_mae, w_cl, w_koleo, peak_lr, weight_decay, clip,
    compiled,
  ):  # fmt: skip
    super().__init__()
    config = sapiens2_config(
      embed_dim=embed_dim,
      num_layers=num_layers,
      num_heads=num_heads,
      hidden_dim=hidden_dim,
      num_kv_heads=num_kv_heads_per_layer,
      patch_size=patch_size,
      image_size=image_size,
      layer_scale_init=layer_scale_init,
    )
    decoder_config = sapiens2_config(
      embed_dim=decoder_dim,
      num_layers=decoder_layers,
      num_heads=decoder_heads,
      hidden_dim=decoder_hidden,
      num_kv_heads=[decoder_heads] * decoder_layers,
      patch_size=patch_size,
      image_size=image_size,
      layer_scale_init=layer_scale_init,
    )
    self.backbone = Sapiens2Model(config)
    self.head = ProjectionHead(embed_dim, head_hidden, bottleneck, prototypes)
    self.decoder = Decoder(decoder_config, embed_dim, patch_size)
    for module in (self.head, self.decoder):
      for name, p in module.named_parameters():
        if name.endswith("bias"):
          nn.init.zeros_(p)
        elif p.ndim == 2:
          nn.init.trunc_normal_(p, std=0.02)
    nn.init.trunc_normal_(self.decoder.mask_token, std=0.02)
    self.teacher_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
    self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
    self.register_buffer("center", torch.zeros(1, prototypes))

    for name, table in (
      ("global_rope", rope_table(config, image_size)),
      ("local_rope", rope_table(config, local_size)),
      ("decoder_rope", rope_table(decoder_config, image_size)),
    ):
      for part, value in zip(("cos", "sin"), table, strict=True):
        self.register_buffer(f"{name}_{part}", value, persistent=False)

    self.patch_size = patch_size
    self.momentum, self.center_momentum = momentum, center_momentum
    self.student_temperature = student_temperature
    self.w_mae, self.w_cl, self.w_koleo = w_mae, w_cl, w_koleo
    self.clip = clip
    self.student = [*self.backbone.parameters(), *self.head.parameters()]
    self.teacher = [
      *self.teacher_backbone.parameters(),
      *self.teacher_head.parameters(),
    ]
    trained = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
    self.trained = [p for _, p in trained]
    self.optimizer = torch.optim.AdamW(
      [
        {
          "params": [p for n, p in trained if not has_no_decay(n)],
          "weight_decay": weight_decay,
        },
        {
          "params": [p for n, p in trained if has_no_decay(n)],
          "weight_decay": 0.0,
        },
      ],
      lr=peak_lr,
      betas=(0.9, 0.95),
      fused=True,
    )
    losses = self.compute_losses
    self.losses_fn = torch.compile(losses) if compiled else losses

  def student_rope(self, visible_ids, num_local):
    """Tables of all student sequences, (v * b, 1, n, head_dim) each."""
    tables = []
    for part in ("cos", "sin"):
      whole = getattr(self, f"global_rope_{part}")
      local = getattr(self, f"local_rope_{part}")
      local = local.expand(num_local, *local.shape)
      tables.append(torch.cat([whole[visible_ids], local])[:, None])
    return tuple(tables)

  def compute_losses(self, batch, teacher_temperature):
    """(total, {loss name: scalar}, mean teacher logits (1, k))."""
    global_crops, local_crops = batch["global_crops"], batch["local_crops"]
    b, num_global = global_crops.shape[:2]
    num_local = local_crops.shape[1]
    # View-major from here on: view 0 of every image, then view 1, ...
    global_crops = global_crops.transpose(0, 1).flatten(0, 1)
    local_crops = local_crops.transpose(0, 1).flatten(0, 1)
    visible_ids = batch["visible_ids"].transpose(0, 1).flatten(0, 1)
    masked_ids = batch["masked_ids"].transpose(0, 1).flatten(0, 1)
    global_patches = patchify(global_crops, self.patch_size)
    local_patches = patchify(local_crops, self.patch_size)

    with torch.no_grad():
      rope = (self.global_rope_cos, self.global_rope_sin)
      tokens = encode(self.teacher_backbone, global_patches, rope)
      logits = self.teacher_head(tokens[:, 0])
      probs = F.softmax((logits - self.center) / teacher_temperature, dim=-1)
      batch_center = logits.float().mean(dim=0, keepdim=True)

    tokens = encode(
      self.backbone,
      torch.cat([take(global_patches, visible_ids), local_patches]),
      self.student_rope(visible_ids, num_local * b),
    )
    cls = tokens[:, 0]
    prediction = self.decoder(
      tokens[: num_global * b, NUM_PREFIX:],
      visible_ids,
      global_patches.shape[1],
      (self.decoder_rope_cos, self.decoder_rope_sin),
    )

    loss_mae = masked_pixel_loss(prediction, global_patches, masked_ids)
    loss_cl = contrastive_loss(
      self.head(cls).unflatten(0, (num_global + num_local, b)),
      probs.unflatten(0, (num_global, b)),
      num_global,
      self.student_temperature,
    )
    views = cls[: num_global * b].unflatten(0, (num_global, b))
    loss_koleo = torch.stack([koleo_loss(v) for v in views]).mean()
    loss = (
      self.w_mae * loss_mae + self.w_cl * loss_cl + self.w_koleo * loss_koleo
    )
    losses = {
      "loss": loss.detach(),
      "loss_mae": loss_mae.detach(),
      "loss_cl": loss_cl.detach(),
      "loss_koleo": loss_koleo.detach(),
    }
    return loss, losses, batch_center

  def step(self, batch, *, lr=None, teacher_temperature=0.065):
    """One update of student, optimizer, teacher and center.

    Args:
      batch: tensors `global_crops` (b, 2, h, w, 3), `local_crops`
        (b, v, h', w', 3), normalised float32, and int64 patch indices
        `visible_ids` (b, 2, n), `masked_ids` (b, 2, m).
      lr: learning rate of this update; the constructor's by default.
      teacher_temperature: T_t of this update.

    Returns:
      `loss`, `loss_mae`, `loss_cl`, `loss_koleo` and `grad_norm`, floats,
      all of the parameters before the update.
    """
    if lr is not None:
      for group in self.optimizer.param_groups:
        group["lr"] = lr
    self.optimizer.zero_grad(set_to_none=True)
    loss, losses, batch_center = self.losses_fn(batch, teacher_temperature)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(self.trained, self.clip)
    self.optimizer.step()
    with torch.no_grad():
      torch._foreach_lerp_(self.teacher, self.student, 1 - self.momentum)
      self.center.lerp_(batch_center, 1 - self.center_momentum)
    return {k: float(v) for k, v in {**losses, "grad_norm": norm}.items()}

  def load(self, params):
    """Copies named NumPy arrays into parameters and buffers, exactly.

    Args:
      params: name -> array, the names of `state_dict()`, PyTorch layouts.
        Where no teacher is given, the teacher becomes the student's copy.

    Raises:
      ValueError: listing missing, unexpected and wrongly shaped names.
    """
    state = self.state_dict()
    params = dict(params)
    for name in ("backbone", "head"):
      if not any(k.startswith(f"teacher_{name}.") for k in params):
        copies = [k for k in params if k.startswith(f"{name}.")]
        params.update({f"teacher_{k}": params[k] for k in copies})
    params.setdefault("center", state["center"].numpy())
    problems = [f"missing {k}" for k in state if k not in params]
    problems += [f"unexpected {k}" for k in params if k not in state]
    problems += [
      f"{k}: {tuple(params[k].shape)}, expected {tuple(v.shape)}"
      for k, v in state.items()
      if k in params and tuple(params[k].shape) != tuple(v.shape)
    ]
    if problems:
      raise ValueError("\n".join(problems))
    self.load_state_dict(
      {k: torch.tensor(np.asarray(v)) for k, v in params.items()}
    )


def make_step(
  *, embed_dim=256, num_layers=4, num_heads=4, hidden_dim=None,
  num_kv_heads_per_layer=None, decoder_dim=512, decoder_layers=8,
  decoder_heads=16, decoder_hidden=None, prototypes=1024, head_hidden=2048,
  bottleneck=256, image_size=(256, 192), local_size=None, patch_size=16,
  layer_scale_init=1e-4, momentum=0.992, center_momentum=0.9,
  student_temperature=0.1, w_mae=1.0, w_cl=0.4, w_koleo=0.04, peak_lr=1e-4,
  weight_decay=0.05, clip=5.0, compiled=False,
):  # fmt: skip
  """A `PretrainStep`; what is None follows from the rest.

  Feed-forward widths are four times the width, local crops half the global
  size, attention ungrouped. `compiled` compiles the losses and their
  gradient; the optimizer stays eager and fused.
  """
  return PretrainStep(
    embed_dim=embed_dim,
    num_layers=num_layers,
    num_heads=num_heads,
    hidden_dim=hidden_dim or 4 * embed_dim,
    num_kv_heads_per_layer=num_kv_heads_per_layer or [num_heads] * num_layers,
    decoder_dim=decoder_dim,
    decoder_layers=decoder_layers,
    decoder_heads=decoder_heads,
    decoder_hidden=decoder_hidden or 4 * decoder_dim,
    prototypes=prototypes,
    head_hidden=head_hidden,
    bottleneck=bottleneck,
    image_size=image_size,
    local_size=local_size or tuple(s // 2 for s in image_size),
    patch_size=patch_size,
    layer_scale_init=layer_scale_init,
    momentum=momentum,
    center_momentum=center_momentum,
    student_temperature=student_temperature,
    w_mae=w_mae,
    w_cl=w_cl,
    w_koleo=w_koleo,
    peak_lr=peak_lr,
    weight_decay=weight_decay,
    clip=clip,
    compiled=compiled,
  )


def step_of(config, arch, **more):
  """`make_step` of the sizes of a pretraining config of ours.

  Args:
    config: of pretraining.
    arch: the `Architecture` of its `model.size`.
    **more: arguments of `make_step`.
  """
  model, data = config.model, config.data
  return make_step(
    embed_dim=arch.embed_dim,
    num_layers=arch.num_layers,
    num_heads=arch.num_heads,
    num_kv_heads_per_layer=list(arch.num_kv_heads),
    decoder_dim=model.decoder_dim,
    decoder_layers=model.decoder_layers,
    decoder_heads=model.decoder_heads,
    prototypes=model.prototypes,
    head_hidden=model.head_hidden_dim,
    bottleneck=model.bottleneck_dim,
    image_size=tuple(data.image_size),
    local_size=tuple(data.local_size),
    **more,
  )


def random_batch(
  seed, *, batch_size=4, image_size=(256, 192), patch_size=16,
  num_local=4, mask_ratio=0.75,
):  # fmt: skip
  """NumPy arrays of the shapes that `step` takes (as tensors)."""
  rng = np.random.default_rng(seed)
  h, w = image_size
  n = (h // patch_size) * (w // patch_size)
  visible = n - int(n * mask_ratio)
  ids = rng.permuted(np.tile(np.arange(n), (batch_size, 2, 1)), axis=-1)
  crops = [
    rng.standard_normal((batch_size, v, rows, cols, 3), dtype=np.float32)
    for v, rows, cols in ((2, h, w), (num_local, h // 2, w // 2))
  ]
  return {
    "global_crops": crops[0],
    "local_crops": crops[1],
    "visible_ids": np.sort(ids[..., :visible]),
    "masked_ids": np.sort(ids[..., visible:]),
  }


def matmul_rate(size=2048, repeats=5):
  """GFLOP/s of a plain float32 matrix product, the best of `repeats`."""
  a = torch.rand(size, size)
  best = float("inf")
  for _ in range(repeats):
    start = time.perf_counter()
    a @ a
    best = min(best, time.perf_counter() - start)
  return 2 * size**3 / best / 1e9


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--mode", choices=("eager", "compiled"), default="eager")
  parser.add_argument("--repeats", type=int, default=8)
  parser.add_argument("--batch_size", type=int, default=4)
  args = parser.parse_args()

  torch.manual_seed(0)
  stepper = make_step(compiled=args.mode == "compiled")
  arrays = random_batch(0, batch_size=args.batch_size)
  batch = {k: torch.from_numpy(v) for k, v in arrays.items()}
  start = time.perf_counter()
  print("first step", stepper.step(batch))
  print(f"first step took {time.perf_counter() - start:.1f} s")
  stepper.step(batch)
  seconds = []
  for _ in range(args.repeats):
    start = time.perf_counter()
    losses = stepper.step(batch)
    seconds.append(time.perf_counter() - start)
  print("last step", losses)
  result = {
    "benchmark": "torch_step",
    "mode": args.mode,
    "median_seconds": round(statistics.median(seconds), 4),
    "best_seconds": round(min(seconds), 4),
    "matmul_gflops": round(matmul_rate(), 1),
  }
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()

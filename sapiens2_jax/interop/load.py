"""Pretrained encoders, and fine-tuned models, in one call."""

import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sapiens2_jax import fields, validation
from sapiens2_jax.extraction.pretrained import Pretrained
from sapiens2_jax.interop import notes
from sapiens2_jax.interop.weights import (
  Found,
  Weights,
  find_weights,
  read_weights,
)
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.objectives import build_for_inference
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.objective import TaskObjective


def load_pretrained(
  path: str | os.PathLike | Found,
  *,
  weights: str = "teacher",
  rope_dtype: str | None = None,
  dtype: Any = jnp.float32,
) -> Pretrained:
  """Loads an encoder and its parameters, to compute features with.

      encoder, params = sapiens2_jax.load_pretrained("weights.safetensors")
      image = sapiens2_jax.load_image("photo.jpg", (1024, 768))
      out = jax.jit(encoder.apply)({"params": params}, image[None])
      out.cls, out.registers, out.patches

  Images are (b, h, w, 3) float32 RGB of any size, ImageNet-normalised. What is
  returned also computes features of photographs, see `Pretrained.features`:

      found = sapiens2_jax.load_pretrained(path).features(["photo.jpg"])
      found.cls, found.patches

  Args:
    path: a safetensors file or a directory with one (released files, our
      exports, transformers directories, whole or in shards), the output of
      `sapiens2 import`, or a training workdir (its newest checkpoint), on a
      disk or on gs://. Of a task model, its encoder. Or what `find_weights`
      found.
    weights: "teacher" or "student" of a pretraining workdir.
    rope_dtype: "float32" (transformers) or "bfloat16" (reference). None for
      what the weights were trained with: that of the run, also of its exports;
      for files with the reference's buffer of periods its own; "float32" where
      nothing tells.
    dtype: of the computation.

  Returns:
    A pair: the encoder, and nested dicts of float32 arrays on the default
    device.

  Raises:
    ValueError: if there are no weights, or they are damaged or of another
      model; lists missing, unexpected and wrongly shaped keys.
  """
  found = path if isinstance(path, Found) else find_weights(path, weights)
  loaded = read_weights(found, "float32")
  encoder = build_encoder(loaded, rope_dtype=rope_dtype, dtype=dtype)
  params = to_device(loaded.encoder_params)
  return Pretrained(encoder, params, tuple(loaded.image_size))


def build_encoder(
  weights: Weights, *, rope_dtype: str | None = None, dtype: Any = jnp.float32
) -> Encoder:
  """The encoder of weights; see `load_pretrained`."""
  return Encoder(
    weights.architecture,
    rope_dtype=rope_dtype or weights.rope_dtype or "float32",
    dtype=dtype,
    layer_scale_init=weights.layer_scale_init,
  )


def load_task(
  path: str | os.PathLike | Found,
  *,
  rope_dtype: str | None = None,
  dtype: str | None = None,
) -> tuple[TaskObjective, dict[str, Any]]:
  """Loads a fine-tuned model and its parameters, to predict with.

      model, params = sapiens2_jax.load_task("runs/normal")
      (one,) = model.task.preprocess(image, None)
      outputs = model.predict(params, one.image[None])
      outputs = jax.tree.map(lambda x: np.asarray(x[0]), outputs)
      normals = model.task.postprocess([outputs], [one])

  `image` is (h, w, 3) uint8 RGB of any size. `model.task.name` says what it
  predicts, `model.config` how it was trained, or its size and widths alone.

  Args:
    path: as of `load_pretrained`; or what `find_weights` found, whose step of a
      run is read, though there may be newer ones.
    rope_dtype: as of `load_pretrained`.
    dtype: of the computation, such as "float32". None for that of the training
      run, "float32" for other sources.

  Returns:
    The model, and {"encoder": ..., "head": ...}, nested dicts of float32
    arrays on the default device.

  Raises:
    ValueError: as of `load_pretrained`, or these are weights of an encoder
      alone.
  """
  found = path if isinstance(path, Found) else find_weights(path)
  loaded = read_weights(found, "float32")
  if loaded.task is None:
    raise ValueError(
      f"{found.description}: holds an encoder without a head; expected the "
      "weights of a task"
    )
  model = build_task(loaded, rope_dtype=rope_dtype, dtype=dtype)
  return model, to_device(loaded.params)


def build_task(
  weights: Weights, *, rope_dtype: str | None = None, dtype: str | None = None
) -> TaskObjective:
  """The model of a task's weights; see `load_task`."""
  config = ConfigDict(weights.config or task_config(weights))
  given = {"rope_dtype": rope_dtype, "dtype": dtype}
  for name, value in given.items():
    if value is not None:
      config.model[name] = value
  return build_for_inference(config)


def task_config(weights: Weights) -> ConfigDict:
  """The groups of a config that prediction reads, for weights without one."""
  head, defaults = weights.head, validation.default_config("finetune")
  config = fields.make_config(registry.definition(head.task).fields)
  config.head = head.widths
  config.update(
    {
      "model": {
        "size": weights.architecture.name,
        "layer_scale_init": weights.layer_scale_init,
        "rope_dtype": weights.rope_dtype or "float32",
        "dtype": "float32",
        "scan": True,
        "remat": "none",
        "attention_backend": "auto",
        "window_chunk": 256,
      },
      "data": {
        "image_size": weights.image_size,
        "max_pixels": defaults.data.max_pixels,
      },
      "task": {"name": head.task},
    }
  )
  if head.labels:
    field = registry.definition(head.task).labels
    fields.set_value(config, field, head.labels)
  if weights.crop:
    fields.set_value(config, notes.CROP_FIELD, weights.crop)
  return config


def to_device(params: dict[str, Any]) -> dict[str, Any]:
  """Reads every leaf as a float32 JAX array, one at a time, in place."""
  for name, value in params.items():
    params[name] = (
      to_device(value)
      if isinstance(value, dict)
      else jnp.asarray(np.asarray(value), jnp.float32)
    )
  return params

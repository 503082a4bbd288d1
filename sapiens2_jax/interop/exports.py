"""Directories of weights for others, with a note of where they came from."""

import hashlib
import os
import pathlib
import shutil
from typing import Any

from data_pipelines.common import checksums, directories, files, storage
from data_pipelines.common.progress import Progress
from sapiens2_jax.interop import (
  integrity,
  model_card,
  notes,
  onnx_export,
  transformers_config,
)
from sapiens2_jax.interop.convert import tensors_from_params
from sapiens2_jax.interop.integrity import EXPORT_KIND as KIND
from sapiens2_jax.interop.integrity import EXPORT_MARKER as MARKER
from sapiens2_jax.interop.notes import CONFIG_NAME
from sapiens2_jax.interop.shards import SHARD_BYTES, write_shards
from sapiens2_jax.interop.tensors import (
  INDEX_NAME,
  Tensors,
  write_safetensors,
)
from sapiens2_jax.interop.weights import Found, Weights
from sapiens2_jax.training import stored

FORMATS = ("reference", "transformers", "onnx")
CARD = "README.md"
PREPROCESSOR_NAME = "preprocessor_config.json"


def make_request(found: Found, kind: str, dtype: str | None) -> dict[str, Any]:
  """What tells two exports apart, without the names of directories above.

  Args:
    found: what is exported.
    kind: one of `FORMATS`.
    dtype: of the tensors, None for that of the weights.
  """
  return {
    "format": kind,
    "source": os.path.basename(storage.absolute(found.path)),
    "fingerprint": found.fingerprint,
    "step": found.step,
    "weights": found.weights,
    "dtype": dtype,
  }


def find_damage(output: str, request: dict) -> list[str] | None:
  """What is missing of what `request` asks for, or is not as it was written.

  Returns:
    A sentence for each file, none if all are whole; None if `output` holds no
    such export.

  Raises:
    ValueError: its marker is damaged.
  """
  marker = integrity.read_marker(output, MARKER)
  if marker is None or marker.get("request") != request:
    return None
  listed = integrity.listed_files(marker, storage.join(output, MARKER))
  problems = checksums.compare(output, listed)
  card = storage.join(output, CARD)
  if request["format"] != "onnx" and not storage.exists(card):
    problems.append(f"{card}: missing")
  return problems


def check_output(output: str, kind: str) -> None:
  """Refuses to replace what `export` did not write.

  Raises:
    ValueError: if `output` is a file, an export of another format, or holds
      weights or configs of others.
  """
  held = directories.list_names(output)
  marker = integrity.read_marker(output, MARKER) or {}
  if marker and (marker.get("kind"), marker.get("format")) != (KIND, kind):
    raise ValueError(
      f"{output}: is not empty and no earlier export of format {kind}; give "
      "another directory"
    )
  ours = set()
  if marker:
    path = storage.join(output, MARKER)
    ours = {*integrity.listed_files(marker, path), MARKER}
    ours |= {*marker["files"]}
  names = {MARKER, INDEX_NAME}
  if kind == "transformers":
    names |= {CONFIG_NAME, PREPROCESSOR_NAME}
  if kind == "onnx":
    names |= {onnx_export.MODEL_NAME, onnx_export.DATA_NAME}
  foreign = [
    name
    for name in held
    if name in names - ours
    or (name.endswith(".safetensors") and name not in ours)
  ]
  if foreign:
    raise ValueError(
      f"{output}: holds {', '.join(foreign)}, which export did not write; give "
      "another directory"
    )


def write_export(
  output: str,
  found: Found,
  weights: Weights,
  request: dict,
  shard_bytes: int = SHARD_BYTES,
) -> str:
  """Writes a directory; replaces what an earlier export wrote, nothing else.

  Takes the memory of a few tensors; of arrays that are stored in larger chunks,
  that of a chunk twice, see `stored.in_slices`.

  Args:
    output: directory.
    found: where the weights come from.
    weights: from `read_weights`.
    request: from `make_request`.
    shard_bytes: of tensors in one file for transformers, at most.

  Returns:
    The name of the file of weights, or of the index of its shards.

  Raises:
    ValueError: the format has no place for the head, or the disk is too full.
  """
  if request["format"] == "onnx":
    with directories.updated(output, MARKER) as path:
      facts = {"dtype": "float32", **onnx_export.write(path, weights)}
      _write_marker(path, found, weights, request, facts)
    return onnx_export.MODEL_NAME
  _check_head(weights, request["format"])
  is_reference = request["format"] == "reference"

  def name_tensors(params: dict[str, Any]) -> Tensors:
    has_own_keys = weights.head and not is_reference
    return tensors_from_params(
      params,
      weights.architecture,
      weights.head,
      # Both styles are read. In its keys the number of layers is free, and
      # AutoModel finds the encoder of a task model.
      style="transformers" if has_own_keys else "reference",
      dtype=request["dtype"],
      with_periods=is_reference,
      rope_dtype=weights.rope_dtype,
    )

  total = sum(x.nbytes for x in name_tensors(weights.params).values())
  with directories.updated(output, MARKER) as path:
    to_slice = stored.bytes_to_slice(weights.params)
    directories.check_free(output, total + to_slice)
    slices = path / "slices"
    with Progress("export", total + to_slice, "B") as progress:
      tensors = name_tensors(
        stored.in_slices(weights.params, slices, progress.advance)
      )
      options = {"metadata": {"format": "pt"}, "advance": progress.advance}
      if is_reference:
        name = model_card.reference_name(weights)
        sha256 = {name: write_safetensors(path / name, tensors, **options)}
      else:
        sha256 = write_shards(path, tensors, limit=shard_bytes, **options)
    shutil.rmtree(slices, ignore_errors=True)
    dtype = next(iter(tensors.values())).dtype.name
    if not is_reference:
      _write_configs(path, weights, dtype)
    sha256s = {
      p.name: sha256.get(p.name) or checksums.sha256(p)
      for p in sorted(path.iterdir())
    }
    facts = {"dtype": dtype, "sha256": sha256s, "card": None}
    is_card_ours = may_replace_card(output)
    if is_card_ours:
      card = model_card.make(found, weights, request["format"], dtype)
      facts["card"] = hashlib.sha256(card.encode()).hexdigest()
    _write_marker(path, found, weights, request, facts)
    if is_card_ours:
      files.write_file(path / CARD, card.encode())
  return INDEX_NAME if len(sha256) > 1 else next(iter(sha256))


def _write_configs(path: pathlib.Path, weights: Weights, dtype: str) -> None:
  config = transformers_config.model_config(
    weights.architecture,
    image_size=weights.image_size,
    layer_scale_init=weights.layer_scale_init,
    dtype=dtype,
    head=weights.head,
  )
  preprocessor = transformers_config.preprocessor_config(
    weights.image_size, weights.head and weights.head.kind.transformers
  )
  files.write_json(path / CONFIG_NAME, config | notes.crop_of(weights.crop))
  files.write_json(path / PREPROCESSOR_NAME, preprocessor)


def may_replace_card(output: str) -> bool:
  """Whether there is no model card, or the one that export wrote."""
  card = storage.join(output, CARD)
  marker = integrity.read_marker(output, MARKER) or {}
  if not storage.exists(card):
    return True
  return checksums.sha256(card) == marker.get("card")


def _write_marker(
  path: pathlib.Path,
  found: Found,
  weights: Weights,
  request: dict,
  facts: dict,
) -> None:
  """Says what the files in `path` are; `facts` are those of the format."""
  marker = {
    "kind": KIND,
    "format": request["format"],
    "architecture": weights.architecture.name,
    "task": weights.task,
    **(notes.labels_of(weights.head) if weights.head else {}),
    **notes.crop_of(weights.crop),
    "image_size": list(weights.image_size),
    "rope_dtype": weights.rope_dtype,
    "step": found.step,
    "weights": found.weights,
    **facts,
    "files": {p.name: p.stat().st_size for p in sorted(path.iterdir())},
    "request": request,
  }
  integrity.write_marker(path / MARKER, marker)


def _check_head(weights: Weights, kind: str) -> None:
  task = weights.task
  if kind == "transformers" and weights.architecture.has_windows:
    raise ValueError(
      f"{weights.architecture.name}: transformers has no local stage for 4K; "
      "use --format reference or onnx"
    )
  if task is None:
    return
  if weights.head is None:
    raise ValueError(f"task {task} has no release format; use --format onnx")
  if kind != "transformers":
    return
  if weights.head.kind.transformers is None:
    raise ValueError(
      f"transformers has no class for task {task}; use --format reference "
      "or onnx"
    )
  hidden = weights.head.scale_hidden
  if weights.head.scale_channels and len(hidden) != 2:
    raise ValueError(
      f"transformers has no scale with head.scale_hidden={hidden}, only with "
      "two widths; use --format reference or onnx"
    )

"""What others read of our exports: names of files, keys and shapes.

`data/reference_keys.json` is written down from the public description of the
reference's modules; nothing of it is computed from our tables. A module loads a
file strictly if these agree.
"""

import json
import pathlib

import jax
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import convert, head_keys, model_card, weights
from sapiens2_jax.interop.head_keys import Head
from tests.interop.head_keys_test import SIZES, TOTALS

TABLE = json.loads(
  (pathlib.Path(__file__).parent / "data" / "reference_keys.json").read_text()
)
# Entries of a file, as published: of the model, and of its 4K variant.
ENTRIES = {
  "0.1b": (210, 240),
  "0.4b": (414, 444),
  "0.8b": (550, 594),
  "1b": (686, 744),
  "5b": (958, 1044),
}
FILES = {"segmentation": "seg"}  # that are not called as our task
# Which keys tell the two packs for ComfyUI what a file is.
MARKS = {
  "pose": "decode_head.conv_pose.weight",
  "segmentation": "decode_head.conv_seg.weight",
  "normal": "decode_head.conv_normal.weight",
  "pointmap": "decode_head.conv_pointmap.weight",
  "albedo": "decode_head.conv_albedo.weight",
}


def _encoder(size, has_tokenizer=False):
  """Keys and shapes of the written table."""
  facts = TABLE["sizes"][size]
  found = dict(TABLE["encoder"])

  def add(prefix, group, **more):
    for key, shape in TABLE[group].items():
      found[prefix + key] = [more.get(side, side) for side in shape]

  first, last = facts["grouped"] or (1, 0)
  for n in range(facts["blocks"]):
    key_width = facts["C"] // 2 if first <= n <= last else facts["C"]
    add(f"blocks.{n}.", "blocks.N.", K=key_width)
  if has_tokenizer:
    add("tokenizer.", "tokenizer.")
    for n in range(facts["tokenizer_blocks"]):
      add(f"tokenizer.blocks.{n}.", "tokenizer.blocks.N.")
  return {key: _numbers(shape, facts) for key, shape in found.items()}


def _numbers(shape, facts):
  return tuple(facts.get(side, side) for side in shape)


def _task_model(size, task):
  """Keys and shapes of the written table; None if nothing is released."""
  name = FILES.get(task, task)
  for entry in TABLE["heads"]:
    if entry["task"] == name and size in entry["sizes"]:
      head = entry["decode_head."]
      facts = TABLE["sizes"][size]
      return {
        **{f"backbone.{key}": shape for key, shape in _encoder(size).items()},
        **{f"decode_head.{k}": _numbers(s, facts) for k, s in head.items()},
      }
  return None


def _export(arch, head=None):
  """Keys and shapes that `--format reference` writes, from shapes alone."""
  params = convert.make_tree(
    head_keys.slots(arch, head),
    lambda slot: jax.ShapeDtypeStruct(
      convert.our_shape(slot.entry.layout, slot.shape), np.float32
    ),
  )
  tensors = convert.tensors_from_params(params, arch, head)
  return {key: tuple(x.shape) for key, x in tensors.items()}


@pytest.mark.parametrize("size", ENTRIES)
def test_encoders_have_the_written_keys_and_shapes(size):
  for is_4k, entries in enumerate(ENTRIES[size]):
    expected = _encoder(size, has_tokenizer=bool(is_4k))
    assert len(expected) == entries
    arch = ARCHITECTURES[f"{size}_4k" if is_4k else size]
    assert _export(arch) == expected


@pytest.mark.parametrize("task", TOTALS)
def test_task_models_have_the_written_keys_and_shapes(task):
  described, _ = TOTALS[task]
  sizes = SIZES if len(described) > 1 else ("1b",)
  for size, widths in zip(sizes, described, strict=True):
    found = _export(ARCHITECTURES[size], Head(task, *widths))
    assert found == _task_model(size, task), size
    assert "backbone.patch_embed.projection.weight" in found
    marks = {name for name, key in MARKS.items() if key in found}
    assert marks == {task} & set(MARKS)


def test_files_are_called_as_those_of_the_release():
  def name(size, head=None):
    return model_card.reference_name(
      weights.Weights(
        params={},
        architecture=ARCHITECTURES[size],
        head=head,
      )
    )

  assert name("0.1b") == "sapiens2_0.1b_pretrain.safetensors"
  assert name("1b_4k") == "sapiens2_1b_4k_pretrain.safetensors"
  for task, (described, _) in TOTALS.items():
    expected = f"sapiens2_1b_{FILES.get(task, task)}.safetensors"
    assert name("1b", Head(task, *described[-1])) == expected

"""Heads: names, widths and layouts of the release."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.interop import convert, head_keys, identify
from sapiens2_jax.interop.head_keys import Head
from sapiens2_jax.models.heads import DeconvHead, PixelShuffleHead
from sapiens2_jax.tasks import registry
from tests import golden
from tests.interop import samples, task_samples
from tests.interop.task_samples import ARCH, HEADS

_SHUFFLE = ((768, 512, 256, 128), (64, 32, 16))
_LARGE = ((1536, 768, 512, 256), (128, 64, 32))
_SCALE = ((1536, 512, 128), (512, 128), 6144)
_POSE = ((1024, 768), (512, 512, 256))
_POINTS = (1536, 768, 512, 256)
SIZES = ("0.4b", "0.8b", "1b", "5b")
# Published parameters of whole models at 1024 x 768.
TOTALS = {
  "pose": (
    (_POSE, _POSE, ((1536, 1024), (768, 512, 256)), _POSE),
    (425677364, 848704820, 1519780148, 5120198644),
  ),
  "segmentation": (
    (((512, 256, 128, 64), (64, 64)),) * 4,
    (406601693, 827531997, 1470819805, 5089588637),
  ),
  "normal": (
    (_SHUFFLE, _SHUFFLE, _SHUFFLE, _LARGE),
    (453357731, 884577443, 1539334307, 5316358275),
  ),
  "pointmap": (
    ((_POINTS, (64, 32, 16), *_SCALE),) * 3
    + (((1536, 768, 768, 768), (128, 64, 32), *_SCALE),),
    (528675364, 967366180, 1629594148, 5348345860),
  ),
  "albedo": (
    (_SHUFFLE, _SHUFFLE, _SHUFFLE, (_LARGE[0], (64, 32, 16))),
    (453360531, 884580499, 1539337619, 5316147155),
  ),
  # Not published; normals and a fourth output.
  "matting": ((_SHUFFLE,), (1539334307 + 16 + 1,)),
}


def module(head):
  """The network that a description stands for."""
  kind = head.kind
  if not kind.is_shuffle:
    return DeconvHead(
      "map", kind.num_outputs, head.upsample_channels, head.conv_channels
    )
  return PixelShuffleHead(
    "map",
    kind.num_outputs,
    norm="rms" if kind.norms_have_scales else "instance",
    **head.widths,
  )


def _our_shapes(head, arch, image_size):
  grid = [side // arch.patch_size for side in image_size]
  features = jax.ShapeDtypeStruct((1, *grid, arch.embed_dim), jnp.float32)
  tree = jax.eval_shape(module(head).init, jax.random.key(0), features)
  return {
    ("head", *(part.key for part in path)): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      nn.unbox(tree)["params"]
    )
  }


def _slot_shapes(head, arch):
  found = {}
  for slot in head_keys.slots(arch, head):
    if slot.path[0] == "head":
      dummy = np.broadcast_to(np.float32(0), slot.shape)
      found[slot.path] = slot.entry.layout.to_ours(dummy).shape
  return found


@pytest.mark.parametrize("task", TOTALS)
def test_whole_models_have_the_published_parameters_and_our_shapes(task):
  described, totals = TOTALS[task]
  sizes = SIZES if len(totals) > 1 else ("1b",)
  for size, widths, total in zip(sizes, described, totals, strict=True):
    arch, head = ARCHITECTURES[size], Head(task, *widths)
    shapes = task_samples.shapes(head, arch=arch).values()
    assert sum(np.prod(shape) for shape in shapes) == total, size
    assert _slot_shapes(head, arch) == _our_shapes(head, arch, (1024, 768))


@pytest.mark.parametrize(
  "task", ["pose", "seg", "normal", "pointmap", "albedo"]
)
def test_names_are_those_of_the_reference(task):
  entry = golden.load("golden_heads")[task]
  keys = {f"decode_head.{key}": tuple(shape) for key, shape in entry["keys"]}
  shuffle = ((32, 24, 16, 8), (8, 8, 8))
  heads = {
    "pose": Head("pose", (32, 24), (16, 16, 16)),
    "seg": Head("segmentation", (32, 24, 16, 8), (8, 8)),
    "normal": Head("normal", *shuffle),
    "albedo": Head("albedo", *shuffle),
    "pointmap": Head("pointmap", *shuffle, (32, 16, 8), (16, 8), 32),
  }
  width = entry["feature"]["shape"][1]
  arch = Architecture("golden", width, 1, 4)
  found = task_samples.shapes(heads[task], arch=arch)
  found = {k: s for k, s in found.items() if k.startswith("decode_head.")}
  assert found == keys


def _back(named, style, **options):
  arch, head, params = convert.params_from_tensors(
    samples.lazy(named), origin="file", **options
  )
  assert set(params) == {"encoder", "head"} and arch == ARCH
  tensors = convert.tensors_from_params(
    params, arch, head, style=style, with_periods=False
  )
  return head, {key: x.load() for key, x in tensors.items()}


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("style", ["reference", "transformers"])
@pytest.mark.parametrize("dtype", samples.FLOATS)
def test_import_then_export_changes_no_bit(task, style, dtype):
  if task == "albedo" and style == "transformers":
    return  # There is none.
  named = task_samples.arrays(HEADS[task], style, samples.FLOATS[dtype])
  head, back = _back(named, style)
  assert head == HEADS[task]
  samples.assert_same_bytes(named, back)


@pytest.mark.parametrize("task", task_samples.IN_TRANSFORMERS)
def test_both_key_styles_give_the_same_parameters(task):
  named = task_samples.arrays(HEADS[task])
  _, back = _back(task_samples.arrays(HEADS[task], "transformers"), "reference")
  samples.assert_same_bytes(named, back)


def test_the_buffer_of_periods_has_the_prefix_of_the_encoder():
  named = task_samples.arrays(HEADS["normal"])
  arch, head, params = convert.params_from_tensors(
    samples.lazy(named), origin="file"
  )
  tensors = convert.tensors_from_params(params, arch, head)
  assert set(tensors) - set(named) == {"backbone.rope_embed.periods"}
  with_periods = {key: x.load() for key, x in tensors.items()}
  assert _back(with_periods, "reference")[0] == head
  with_periods["backbone.rope_embed.periods"] *= 2
  assert "periods is not that of Sapiens2" in _problems(with_periods)


def test_every_layout_is_undone_exactly():
  for head in HEADS.values():
    for slot in head_keys.slots(ARCH, head):
      x = np.arange(np.prod(slot.shape)).reshape(slot.shape)
      layout = slot.entry.layout
      np.testing.assert_array_equal(layout.to_reference(layout.to_ours(x)), x)


def _problems(named):
  with pytest.raises(ValueError) as caught:
    convert.params_from_tensors(samples.lazy(named), origin="x.safetensors")
  return str(caught.value)


def test_missing_unexpected_and_misshapen_keys_are_all_named():
  named = task_samples.arrays(HEADS["pose"])
  del named["decode_head.conv_layers.0.bias"], named["backbone.cls_token"]
  named["decode_head.extra.weight"] = np.zeros(2, np.float32)
  named["decode_head.conv_pose.bias"] = np.zeros(17, np.float32)
  message = _problems(named)
  assert message.splitlines()[0] == (
    "x.safetensors: does not fit tiny, pose (reference keys)"
  )
  assert (
    "missing (2): backbone.cls_token, decode_head.conv_layers.0.bias" in message
  )
  assert "unexpected (1): decode_head.extra.weight" in message
  assert "decode_head.conv_pose.bias (17,) should be (308,)" in message


def test_another_number_of_classes_is_refused():
  named = task_samples.arrays(HEADS["segmentation"])
  key = "decode_head.conv_seg.weight"
  named[key] = named[key][:21]
  assert f"{key} (21, 8, 1, 1) should be (29, 8, 1, 1)" in _problems(named)
  named = task_samples.arrays(HEADS["segmentation"], "transformers")
  for part in ("weight", "bias"):
    key = f"decode_head.predictor.{part}"
    named[key] = named[key][:21]
  assert "transposed convolutions and 21 outputs" in _problems(named)


def test_a_layer_whose_width_is_unknown_is_named():
  named = task_samples.arrays(HEADS["pose"])
  del named["decode_head.deconv_layers.0.weight"]
  assert "missing layers: decode_head.deconv_layers.0" in _problems(named)


def test_half_a_layer_is_found_by_its_bias():
  named = task_samples.arrays(HEADS["matting"])
  del named["decode_head.conv_layers.0.weight"]
  assert "missing (1): decode_head.conv_layers.0.weight" in _problems(named)


def test_heads_of_other_models_are_refused():
  named = task_samples.arrays(HEADS["normal"])
  other = {
    key.replace("conv_normal", "conv_depth"): x for key, x in named.items()
  }
  assert "of no known task; none of decode_head.conv_albedo" in _problems(other)
  head = {k: x for k, x in named.items() if k.startswith("decode_head.")}
  assert "a head without an encoder" in _problems(head)
  named["backbone.tokenizer.w_cls"] = np.zeros((1, 1, 48), np.float32)
  assert "unexpected (1): backbone.tokenizer.w_cls" in _problems(named)


def test_a_head_that_fits_two_tasks_is_of_neither(monkeypatch):
  normal = registry.definition("normal")
  other = dataclasses.replace(normal, name="other")
  monkeypatch.setitem(registry._registered, "other", other)
  named = task_samples.arrays(HEADS["normal"], "transformers")
  assert "a head of normal or other; all fit" in _problems(named)


def test_a_whole_file_is_identified_from_its_header_alone():
  """Of the real 5b size: nothing is read."""

  def refuse():
    raise AssertionError("was read")

  arch, head = ARCHITECTURES["5b"], Head("pointmap", *_LARGE, *_SCALE)
  tensors = {
    key: samples.LazyTensor(shape, np.dtype(np.float32), refuse)
    for key, shape in task_samples.shapes(head, arch=arch).items()
  }
  found = identify.identify(tensors, "file")
  assert found.architecture == arch and found.head == head

import json

import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import transformers_config
from sapiens2_jax.interop.head_keys import Head, releases


def _config(size, head=None):
  return transformers_config.model_config(
    ARCHITECTURES[size],
    image_size=(1024, 768),
    layer_scale_init=1e-4,
    dtype="float32",
    head=head,
  )


def _parse(size, tmp_path, head=None):
  from transformers import AutoConfig

  (tmp_path / "config.json").write_text(json.dumps(_config(size, head)))
  return AutoConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("size", ARCHITECTURES)
def test_transformers_reads_the_architecture(size, tmp_path):
  arch, config = ARCHITECTURES[size], _parse(size, tmp_path)
  assert type(config).__name__ == "Sapiens2Config"
  assert config.num_key_value_heads_per_layer == list(arch.num_kv_heads)
  assert config.hidden_size == arch.embed_dim
  assert config.intermediate_size == arch.hidden_dim
  assert config.image_size == [1024, 768]
  assert config.pos_embed_rescale is None


def test_grouped_heads_are_half_for_the_sizes_whose_default_is_wrong(tmp_path):
  for size, full, grouped, layers in (("1b", 24, 12, 24), ("5b", 32, 16, 40)):
    heads = _parse(size, tmp_path).num_key_value_heads_per_layer
    assert heads == [full] * 8 + [grouped] * layers + [full] * 8


def test_every_field_of_transformers_is_written_out(tmp_path):
  saved = _parse("0.4b", tmp_path).to_dict()
  ours = _config("0.4b")
  # What from_pretrained and every model adds, whatever the model.
  general = {"transformers_version", "_name_or_path"}
  from transformers import PreTrainedConfig, Sapiens2Config

  general |= set(PreTrainedConfig().to_dict()) - set(ours)
  assert set(saved) - general <= set(ours)
  own = set(Sapiens2Config().to_diff_dict()) | set(Sapiens2Config().to_dict())
  assert own - general <= set(ours)
  for key, value in ours.items():
    if key != "head_config":
      found = saved[key]
      assert (list(found) if isinstance(found, tuple) else found) == value, key
  for key, value in ours["head_config"].items():
    assert saved["head_config"][key] == value, key


def test_preprocessor_has_every_documented_field():
  config = transformers_config.preprocessor_config((128, 96))
  assert config["size"] == {"height": 128, "width": 96}
  assert config["image_mean"] == [0.485, 0.456, 0.406]
  assert config["image_std"] == [0.229, 0.224, 0.225]
  assert config["rescale_factor"] == 1 / 255
  assert set(config) == {
    "image_processor_type",
    "do_resize",
    "size",
    "resample",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "do_center_crop",
    "crop_size",
    "do_pad",
    "do_reduce_labels",
    "keypoint_heatmap_downscale_factor",
    "keypoint_heatmap_sigma",
  }


_SHUFFLE = ((768, 512, 256, 128), (64, 32, 16))
_SCALE = ((1536, 512, 128), (512, 128), 6144)
# Labels, use_pixel_shuffle and kernels of transformers' own files.
_HEADS = {
  "pose": (((1024, 768), (512, 512, 256)), 308, False, (4, 1)),
  "segmentation": (((512, 256, 128, 64), (64, 64)), 29, False, (4, 1)),
  "normal": (_SHUFFLE, 3, True, (3, 3)),
  "pointmap": ((*_SHUFFLE, *_SCALE), 3, True, (3, 3)),
  "matting": (_SHUFFLE, 4, True, (3, 3)),
}


@pytest.mark.parametrize("task", _HEADS)
def test_transformers_reads_the_head(task, tmp_path):
  widths, num_labels, is_shuffle, (up, conv) = _HEADS[task]
  config = _parse("0.4b", tmp_path, Head(task, *widths))
  assert config.architectures == [releases()[task].transformers.class_name]
  assert config.num_labels == len(config.label2id) == num_labels
  head = config.head_config
  assert head.use_pixel_shuffle == is_shuffle
  assert tuple(head.upsample_out_channels) == widths[0]
  assert tuple(head.conv_out_channels) == widths[1]
  assert head.upsample_kernel_sizes == [up] * len(widths[0])
  assert head.conv_kernel_sizes == [conv] * len(widths[1])
  if task == "pointmap":
    assert head.scale_conv_kernel_sizes == [1, 1, 1]
    assert head.scale_final_hidden_sizes == [512, 128]
    assert head.scale_final_input_size == 6144


def test_names_of_outputs_and_mirrored_keypoints_are_written(tmp_path):
  config = _parse("0.4b", tmp_path, Head("pose", *_HEADS["pose"][0]))
  assert len(config.flip_pairs) == 146
  first = [config.id2label[i] for i in config.flip_pairs[0]]
  assert first == ["left_eye", "right_eye"]
  head = Head("segmentation", *_HEADS["segmentation"][0])
  assert _parse("0.4b", tmp_path, head).id2label[0] == "Background"


def test_what_keeps_its_aspect_is_padded():
  heads = {task: kind.transformers for task, kind in releases().items()}
  padded = {
    task: transformers_config.preprocessor_config((1024, 768), head)["do_pad"]
    for task, head in {"encoder": None, **heads}.items()
  }
  assert {task for task, value in padded.items() if value} == {
    "normal",
    "pointmap",
  }


def test_the_width_of_heatmap_peaks_goes_with_the_image():
  for width, sigma in ((768, 6.0), (192, 1.5)):
    config = transformers_config.preprocessor_config((256, width))
    assert config["keypoint_heatmap_sigma"] == sigma

import json

import pytest

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import transformers_config


def _config(size):
  return transformers_config.model_config(
    ARCHITECTURES[size],
    image_size=(1024, 768),
    layer_scale_init=1e-4,
    dtype="float32",
  )


def _parse(size, tmp_path):
  from transformers import AutoConfig

  (tmp_path / "config.json").write_text(json.dumps(_config(size)))
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

"""The two JSON files that Hugging Face transformers reads beside weights.

Every field is written out, so that a changed default there changes nothing.

Source: transformers 5.23, Sapiens2Config and Sapiens2ImageProcessor.
"""

from typing import Any

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.interop import notes
from sapiens2_jax.interop.head_keys import Head
from sapiens2_jax.models.layers import NORM_EPS
from sapiens2_jax.models.pixels import IMAGENET_MEAN, IMAGENET_STD
from sapiens2_jax.models.rope import BASE
from sapiens2_jax.tasks.release import TransformersHead

ENCODER_CLASS = "Sapiens2Model"
_KEYPOINT_SIGMA = 6 / 768  # of the width of the input


def model_config(
  arch: Architecture,
  *,
  image_size: tuple[int, int],
  layer_scale_init: float,
  dtype: str,
  head: Head | None = None,
) -> dict[str, Any]:
  """Content of config.json.

  Args:
    arch: of the encoder.
    image_size: (height, width) in pixels it was trained at; no limit.
    layer_scale_init: initial LayerScale, read only when training anew.
    dtype: of the weights, such as "float32".
    head: of a task model, None for the plain encoder.
  """
  theirs = head.kind.transformers if head else None
  flip_pairs = theirs.flip_pairs if theirs else ()
  return {
    "model_type": "sapiens2",
    "architectures": [theirs.class_name if theirs else ENCODER_CLASS],
    "dtype": dtype,
    "hidden_size": arch.embed_dim,
    "num_hidden_layers": arch.num_layers,
    "num_attention_heads": arch.num_heads,
    "intermediate_size": arch.hidden_dim,
    "image_size": list(image_size),
    "patch_size": arch.patch_size,
    "num_channels": 3,
    "num_register_tokens": arch.num_registers,
    "num_key_value_heads_per_layer": list(arch.num_kv_heads),
    "num_key_value_attention_heads": arch.num_heads // 2,
    "num_first_full_attention_layers": arch.num_full_first,
    "num_last_full_attention_layers": arch.num_full_last,
    "hidden_act": "silu",
    "use_gated_mlp": True,
    "use_qk_norm": True,
    "query_bias": True,
    "key_bias": True,
    "value_bias": True,
    "proj_bias": True,
    "mlp_bias": True,
    "rms_norm_eps": NORM_EPS,
    "rope_theta": BASE,
    "pos_embed_shift": None,
    "pos_embed_jitter": None,
    "pos_embed_rescale": None,
    "layerscale_value": layer_scale_init,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "drop_path_rate": 0.0,
    "use_mask_token": False,
    "normalize_backbone_outputs": True,
    "reshape_hidden_states": True,
    "semantic_loss_ignore_index": 255,
    "flip_pairs": list(map(list, flip_pairs)) or None,
    "stage_names": ["stem", *(f"stage{i + 1}" for i in range(arch.num_layers))],
    "out_features": [f"stage{arch.num_layers}"],
    "out_indices": [arch.num_layers],
    "head_config": _head_config(head),
    **(_labels(theirs.labels) if theirs else {}),
    **(notes.labels_of(head) if head else {}),
  }


def _labels(names: tuple[str, ...]) -> dict[str, dict]:
  """Names of the output channels; their number is that of the outputs."""
  return {
    "id2label": {str(i): name for i, name in enumerate(names)},
    "label2id": {name: i for i, name in enumerate(names)},
  }


def _head_config(head: Head | None) -> dict[str, Any]:
  """Widths and kernels of a head; of none for the plain encoder."""
  ups, convs = (), ()
  if head:
    ups, convs = head.upsample_channels, head.conv_channels
  is_shuffle = head and head.kind.is_shuffle
  scale = head.scale_channels if head else ()
  return {
    "model_type": "sapiens2_head",
    "conv_kernel_size": 1,
    "conv_kernel_sizes": head and [3 if is_shuffle else 1] * len(convs),
    "conv_out_channels": head and list(convs),
    "scale_conv_kernel_size": 1,
    "scale_conv_kernel_sizes": [1] * len(scale) or None,
    "scale_conv_out_channels": list(scale) or None,
    "scale_final_hidden_sizes": list(head.scale_hidden) if scale else None,
    "scale_final_input_size": head.scale_inputs if scale else None,
    "upsample_kernel_size": 4,
    "upsample_kernel_sizes": head and [3 if is_shuffle else 4] * len(ups),
    "upsample_out_channels": head and list(ups),
    "use_pixel_shuffle": is_shuffle,
  }


def preprocessor_config(
  image_size: tuple[int, int], head: TransformersHead | None = None
) -> dict[str, Any]:
  """Content of preprocessor_config.json.

  Args:
    image_size: (height, width) in pixels that images are resized to.
    head: of a task model, None for the plain encoder.
  """
  height, width = image_size
  return {
    "image_processor_type": "Sapiens2ImageProcessor",
    "do_resize": True,
    "size": {"height": height, "width": width},
    "resample": 2,  # bilinear
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "do_center_crop": False,
    "crop_size": {"height": 224, "width": 224},  # not used
    "do_pad": head is not None and head.is_padded,
    "do_reduce_labels": False,
    "keypoint_heatmap_downscale_factor": 4,
    "keypoint_heatmap_sigma": _KEYPOINT_SIGMA * width,
  }

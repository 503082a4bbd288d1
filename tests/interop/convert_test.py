import ml_dtypes
import numpy as np
import pytest

from sapiens2_jax.architectures import ARCHITECTURES, custom_architecture
from sapiens2_jax.interop import convert, keys
from sapiens2_jax.interop.identify import identify
from sapiens2_jax.models.rope import bfloat16_periods, float32_periods
from tests.interop import samples, task_samples
from tests.interop.samples import TINY, TOY


def _back(named, style, **options):
  arch, _, params = convert.params_from_tensors(
    samples.lazy(named), origin="file", **options
  )
  tensors = convert.tensors_from_params(params, arch, style=style)
  return arch, {key: x.load() for key, x in tensors.items()}


@pytest.mark.parametrize("dtype", samples.FLOATS)
@pytest.mark.parametrize("style", keys.STYLES)
@pytest.mark.parametrize("arch", [TOY, TINY], ids=["toy", "tiny"])
def test_import_then_export_changes_no_bit(arch, style, dtype):
  named = samples.arrays(
    arch, style, samples.FLOATS[dtype], periods=style == "reference"
  )
  found, back = _back(named, style)
  if style == "transformers":
    del back[keys.PERIODS_KEY]
  assert found == arch
  samples.assert_same_bytes(named, back)


def test_both_key_styles_give_the_same_parameters():
  reference = samples.arrays(TINY, periods=True)
  _, back = _back(samples.arrays(TINY, "transformers"), "reference")
  samples.assert_same_bytes(reference, back)


def test_gate_proj_is_the_first_half_of_w12():
  named = samples.arrays(TINY)
  _, back = _back(named, "transformers")
  w12 = named["blocks.3.ffn.w12.weight"]
  gate = back["model.layer.3.mlp.gate_proj.weight"]
  np.testing.assert_array_equal(gate, w12[: len(w12) // 2])


@pytest.mark.parametrize("prefix", keys.PREFIXES)
def test_a_uniform_prefix_is_accepted(prefix):
  for style in keys.STYLES:
    named = samples.arrays(TINY, style)
    prefixed = {prefix + key: x for key, x in named.items()}
    assert _back(prefixed, style)[0] == TINY


def _wrapped(named, layout):
  return {layout.format(key): x for key, x in named.items()}


@pytest.mark.parametrize(
  ("layout", "removed"),
  [
    ("{}", ()),
    ("_orig_mod.{}", ("_orig_mod.",)),
    ("module.{}", ("module.",)),
    ("backbone.{}", ("backbone.",)),
    ("module._orig_mod.backbone.{}", ("module.", "_orig_mod.", "backbone.")),
    ("model.backbone._orig_mod.{}", ("_orig_mod.", "model.", "backbone.")),
    ("_fsdp_wrapped_module.{}", ("_fsdp_wrapped_module.",)),
    ("net.{}", ("net.",)),
    ("ema.encoder._orig_mod.{}", ("_orig_mod.", "ema.encoder.")),
  ],
)
@pytest.mark.parametrize("style", keys.STYLES)
def test_wrappers_and_prefixes_are_taken_off_and_named(style, layout, removed):
  named = samples.arrays(TINY, style)
  wrapped = samples.lazy(_wrapped(named, layout))
  found = identify(wrapped, "file")
  assert found.removed == removed and found.style == style
  assert set(found.tensors) == set(named)
  assert all(found.tensors[key].load() is named[key] for key in named)


def test_wrappers_inside_a_task_model_are_taken_off():
  named = task_samples.arrays(task_samples.HEADS["normal"])
  wrapped = {
    "module." + key.replace("backbone.", "backbone._orig_mod."): x
    for key, x in named.items()
  }
  found = identify(samples.lazy(wrapped), "file")
  assert found.head.task == "normal"
  assert found.removed == ("module.", "_orig_mod.")


def test_keys_that_differ_in_a_wrapper_only_are_an_error():
  named = samples.arrays(TINY)
  both = {**named, "module.cls_token": named["cls_token"]}
  assert "differ only in module. (1): cls_token" in _problems(both)


def test_periods_are_those_of_the_release():
  _, back = _back(samples.arrays(TOY), "reference")
  periods = back[keys.PERIODS_KEY]
  assert periods.dtype == ml_dtypes.bfloat16 and periods.shape == (12,)


def test_conversion_to_bfloat16_rounds_to_nearest():
  arch, _, params = convert.params_from_tensors(
    samples.lazy(samples.arrays(TOY)), origin="file"
  )
  tensors = convert.tensors_from_params(params, arch, dtype="bfloat16")
  found = tensors["ln1.weight"].load()
  np.testing.assert_array_equal(
    found, samples.arrays(TOY)["ln1.weight"].astype(ml_dtypes.bfloat16)
  )


def test_dtype_argument_widens_exactly():
  named = samples.arrays(TINY, dtype=ml_dtypes.bfloat16)
  _, _, params = convert.params_from_tensors(
    samples.lazy(named), origin="file", dtype="float32"
  )
  kernel = params["blocks"]["segment_1"]["attention"]["k"]["kernel"]
  assert kernel.dtype == np.float32 and kernel.shape == (2, 64, 32)
  np.testing.assert_array_equal(
    kernel[0], named["blocks.8.attn.wk.weight"].astype(np.float32).T
  )


def _problems(named):
  with pytest.raises(ValueError) as caught:
    convert.params_from_tensors(samples.lazy(named), origin="x.safetensors")
  return str(caught.value)


def test_missing_unexpected_and_misshapen_keys_are_all_named():
  named = samples.arrays(TOY)
  del named["cls_token"], named["blocks.2.attn.wq.bias"]
  named["blocks.0.ffn.gamma2"] = np.zeros(3, np.float32)
  named["ln1.weight"] = np.zeros(7, np.float32)
  message = _problems(named)
  assert message.splitlines()[0] == (
    "x.safetensors: does not fit toy (reference keys)"
  )
  assert "missing (2): cls_token, blocks.2.attn.wq.bias" in message
  assert "unexpected (1): blocks.0.ffn.gamma2" in message
  assert "wrong shape (1): ln1.weight (7,) should be (192,)" in message


def test_long_lists_are_shortened_and_counted():
  named = samples.arrays(TOY)
  named = {k: v for k, v in named.items() if not k.startswith("blocks.3.")}
  message = _problems(named)
  assert "missing (17): " in message and message.endswith("and 7 more")


def test_key_value_heads_must_be_grouped_as_the_architecture_says():
  named = samples.arrays(TOY)
  named["blocks.1.attn.wk.weight"] = np.zeros((192, 192), np.float32)
  message = _problems(named)
  assert "blocks.1.attn.wk.weight (192, 192) should be (96, 192)" in message


def test_a_part_of_the_window_stage_is_missed():
  named = samples.arrays(ARCHITECTURES["toy_4k"])
  del named["tokenizer.w_cls"], named["tokenizer.blocks.0.ln1.weight"]
  message = _problems(named)
  assert "does not fit toy_4k" in message
  assert (
    "missing (2): tokenizer.w_cls, tokenizer.blocks.0.ln1.weight" in message
  )


def test_something_else_is_refused():
  message = _problems({"fc.weight": np.zeros((2, 2), np.float32)})
  assert "none of its 1 keys is known: fc.weight" in message
  assert "none of its 0 keys" in _problems({})


def test_other_periods_are_refused():
  named = samples.arrays(TOY, periods=True)
  named[keys.PERIODS_KEY] = named[keys.PERIODS_KEY] * 2
  assert "base 100" in _problems(named)


@pytest.mark.parametrize("head_dim", [48, 64, 76, 80])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_periods_may_be_of_either_format_and_saved_in_any(head_dim, dtype):
  named = samples.arrays(custom_architecture(2 * head_dim, 2, 2, 1, 1))
  for periods in (float32_periods(head_dim), bfloat16_periods(head_dim)):
    named[keys.PERIODS_KEY] = periods.astype(dtype)
    found = identify(samples.lazy(named), "file").rope_dtype
    is_exact = periods.dtype == np.float64 and dtype == np.float32
    assert found == ("float32" if is_exact else "bfloat16")
    named[keys.PERIODS_KEY] = (periods * 1.02).astype(dtype)
    assert "base 100" in _problems(named)


@pytest.mark.parametrize("number", ["9999", "9" * 30, "9" * 5000, "01", "²"])
@pytest.mark.parametrize("arch", [TOY, TINY], ids=["toy", "tiny"])
def test_a_block_with_a_senseless_number_is_refused_at_once(number, arch):
  named = samples.arrays(arch)
  named[f"blocks.{number}.ln1.weight"] = named["ln1.weight"]
  message = _problems(named)
  assert "unexpected (1): blocks." in message or "names block 9999" in message


def test_blocks_of_different_dtype_are_refused_unless_converted():
  named = samples.arrays(TOY)
  key = "blocks.1.ln2.weight"
  named[key] = named[key].astype(np.float16)
  named["blocks.2.ln2.weight"] = named["blocks.2.ln2.weight"]
  assert "blocks differ in dtype (1)" in _problems(named)
  convert.params_from_tensors(
    samples.lazy(named), origin="file", dtype="float32"
  )


def test_other_dtypes_are_refused():
  named = samples.arrays(TOY)
  named["ln1.weight"] = named["ln1.weight"].astype(np.float64)
  assert "unsupported dtype (1): ln1.weight float64" in _problems(named)

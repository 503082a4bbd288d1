"""Files of shards: cut as transformers cuts, the same bytes back."""

import json

import huggingface_hub.serialization as hub
import numpy as np
import pytest

from sapiens2_jax.interop import exports, parity, shards, tensors, weights
from sapiens2_jax.interop.load import load_pretrained
from tests.interop import samples
from tests.interop.samples import TINY, TOY

LIMIT = 1_000_000


def _export(source, output, shard_bytes=LIMIT, **request):
  found = weights.find_weights(source)
  request = exports.make_request(
    found, request.get("kind", "transformers"), request.get("dtype")
  )
  loaded = weights.read_weights(found)
  exports.write_export(str(output), found, loaded, request, shard_bytes)
  return output


def _import(source, output):
  found = weights.find_weights(source)
  weights.write_import(str(output), weights.read_weights(found), found)
  return output


def _arrays(path):
  return {key: x.load() for key, x in tensors.open_tensors(path).items()}


def test_a_tensor_above_the_limit_has_a_shard_of_its_own():
  named = samples.arrays(TINY)
  parts = shards.split(samples.lazy(named), 1)
  assert [list(part) for part in parts] == [[name] for name in named]


@pytest.mark.parametrize(
  ("limit", "count"), [(200_000, 29), (LIMIT, 6), (10**9, 1)]
)
def test_shards_are_those_of_the_hub(limit, count):
  named = samples.arrays(TINY)
  assert max(x.nbytes for x in named.values()) < limit
  theirs = hub.split_state_dict_into_shards_factory(
    named,
    get_storage_size=lambda x: x.nbytes,
    filename_pattern="model{suffix}.safetensors",
    max_shard_size=limit,
  ).filename_to_tensors
  parts = shards.split(samples.lazy(named), limit)
  assert [list(part) for part in parts] == list(theirs.values())
  assert len(parts) == count


def test_shards_have_the_usual_names_and_an_index(tmp_path):
  named = samples.arrays(TINY)
  sha256 = shards.write_shards(tmp_path, samples.lazy(named), {}, LIMIT)
  index = json.loads((tmp_path / tensors.INDEX_NAME).read_text())
  assert set(index["weight_map"]) == set(named)
  total = sum(x.nbytes for x in named.values())
  assert index["metadata"] == {"total_size": total}
  names = [f"model-{i:05}-of-{len(sha256):05}.safetensors" for i in range(1, 7)]
  assert list(sha256) == names == sorted(set(index["weight_map"].values()))
  for name in names:
    in_file = tensors.open_tensors(tmp_path / name)
    assert sum(x.nbytes for x in in_file.values()) <= LIMIT
  samples.assert_same_bytes(_arrays(tmp_path), named)


@pytest.mark.parametrize("dtype", samples.FLOATS)
@pytest.mark.parametrize("arch", [TOY, TINY], ids=["toy", "tiny"])
def test_round_trips_change_no_bit(tmp_path, arch, dtype):
  named = samples.arrays(arch, dtype=samples.FLOATS[dtype])
  source = samples.write_shards(tmp_path / "released", named)
  imported = _import(source, tmp_path / "imported")
  exported = _export(imported, tmp_path / "exported")
  assert len(list(exported.glob("model-*.safetensors"))) > 1
  samples.assert_same_bytes(_arrays(exported), named)
  again = _import(exported, tmp_path / "again")
  once = _export(again, tmp_path / "once", shard_bytes=10**9)
  assert (once / "model.safetensors").is_file()
  samples.assert_same_bytes(_arrays(once), named)
  _, ours = load_pretrained(again)
  _, theirs = load_pretrained(source)
  samples.assert_same_tree(ours, theirs)


def test_transformers_reads_our_shards(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  output = _export(file, tmp_path / "exported", shard_bytes=2_000_000)
  assert len(list(output.glob("model-*.safetensors"))) == 6
  theirs, keys = parity.torch_forward(str(output))
  assert keys == {"missing": [], "unexpected": [], "mismatched": []}
  ours = parity.jax_forward(*load_pretrained(output, rope_dtype="float32"))
  images = np.random.default_rng(0).standard_normal((1, 64, 48, 3), np.float32)
  result = parity.compare(ours, theirs, images)
  assert result["max_abs_output"] > 1
  for part in ("cls", "registers", "patches"):
    assert result[part + parity.DIFFERENCE] < 2e-5


def test_shards_are_cut_when_the_dtype_is_known(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  wide = _export(file, tmp_path / "wide", shard_bytes=2_000_000)
  narrow = _export(
    file, tmp_path / "narrow", shard_bytes=2_000_000, dtype="bfloat16"
  )
  counts = [len(list(p.glob("model-*.safetensors"))) for p in (wide, narrow)]
  assert counts == [6, 3]

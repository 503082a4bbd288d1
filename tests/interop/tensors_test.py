import json
import pickle

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch

from sapiens2_jax.interop import tensors
from tests.interop import samples

NAMED = {
  "a": np.arange(6, dtype=np.float32).reshape(2, 3),
  "b": np.arange(4).astype(ml_dtypes.bfloat16),
  "scalar": np.array(2, np.float16),
  "empty": np.zeros((0, 3), np.float32),
}


def _load(path):
  return {k: x.load() for k, x in tensors.open_tensors(path).items()}


def test_what_is_written_is_read_back(tmp_path):
  samples.assert_same_bytes(
    NAMED, _load(samples.write(tmp_path / "x.safetensors", NAMED))
  )


def test_file_equals_that_of_the_safetensors_library(tmp_path):
  import torch

  path = samples.write(tmp_path / "x.safetensors", NAMED)
  loaded = safetensors.torch.load_file(path)
  assert loaded["b"].dtype == torch.bfloat16
  assert loaded["b"].tolist() == [0, 1, 2, 3]
  theirs = safetensors.torch.save(loaded, metadata={"format": "pt"})
  assert theirs == path.read_bytes()


def test_digest_is_that_of_the_file(tmp_path):
  import hashlib

  path = tmp_path / "x.safetensors"
  digest = tensors.write_safetensors(path, samples.lazy(NAMED), {})
  assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_shards_are_read_as_one(tmp_path):
  samples.write_shards(tmp_path, NAMED)
  samples.assert_same_bytes(NAMED, _load(tmp_path))
  index = tmp_path / tensors.INDEX_NAME
  samples.assert_same_bytes(NAMED, _load(index))


def test_missing_shards_are_named(tmp_path):
  samples.write_shards(tmp_path, NAMED)
  (tmp_path / "model-00002-of-00003.safetensors").unlink()
  with pytest.raises(ValueError, match="missing shards: model-00002-of"):
    tensors.open_tensors(tmp_path)


def test_a_shard_without_its_tensor_is_an_error(tmp_path):
  samples.write_shards(tmp_path, NAMED)
  samples.write(tmp_path / "model-00001-of-00003.safetensors", {})
  with pytest.raises(ValueError, match="do not hold a"):
    tensors.open_tensors(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {"a": "../x"}}'])
def test_a_bad_index_is_an_error(tmp_path, text):
  (tmp_path / tensors.INDEX_NAME).write_text(text)
  with pytest.raises(ValueError, match="not an index of shards"):
    tensors.open_tensors(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, keep):
  path = samples.write(tmp_path / "x.safetensors", NAMED)
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(ValueError, match="x.safetensors: truncated, or not a"):
    tensors.open_tensors(path)


@pytest.mark.parametrize("suffix", tensors.PICKLED)
def test_a_pickled_file_is_refused_and_never_opened(tmp_path, suffix):
  class Harm:
    def __reduce__(self):
      return (tmp_path.joinpath("harm").touch, ())

  path = tmp_path / f"pytorch_model{suffix}"
  path.write_bytes(pickle.dumps(Harm()))
  for given in (path, tmp_path):
    with pytest.raises(ValueError, match="convert it to safetensors"):
      tensors.open_tensors(given)
  assert not (tmp_path / "harm").exists()


def test_a_state_dict_inside_a_pickle_is_refused_with_the_reason(tmp_path):
  import torch

  path = tmp_path / "checkpoint.pth"
  torch.save({"state_dict": {"cls_token": torch.zeros(1)}, "epoch": 3}, path)
  with pytest.raises(ValueError) as caught:
    tensors.open_tensors(path)
  message = str(caught.value)
  assert "can run code when it is opened" in message
  assert "safetensors.torch.save_file of its state dict" in message


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
  path = samples.write(tmp_path / "x.safetensors", NAMED)
  opened = tensors.open_tensors(path)
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match="x.safetensors: was cut off .* at "):
    for tensor in opened.values():
      tensor.load()


def test_a_directory_must_be_clear(tmp_path):
  with pytest.raises(ValueError, match="holds no weights"):
    tensors.find_file(tmp_path)
  with pytest.raises(ValueError, match="no such file"):
    tensors.find_file(tmp_path / "none")
  one = samples.write(tmp_path / "one.safetensors", NAMED)
  assert tensors.find_file(tmp_path) == one
  samples.write(tmp_path / "two.safetensors", NAMED)
  with pytest.raises(ValueError, match="2 safetensors files"):
    tensors.find_file(tmp_path)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
  path = samples.write(tmp_path / "x.safetensors", NAMED)
  before = path.read_bytes()

  def fail():
    raise OSError("disk is full")

  bad = samples.lazy(NAMED)
  bad["b"] = tensors.LazyTensor((4,), NAMED["b"].dtype, fail)
  with pytest.raises(OSError, match="disk is full"):
    tensors.write_safetensors(path, bad, {})
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_tensor_unlike_its_announcement_is_an_error(tmp_path):
  wrong = {"a": tensors.LazyTensor((9,), NAMED["a"].dtype, lambda: NAMED["a"])}
  with pytest.raises(ValueError, match="announced as"):
    tensors.write_safetensors(tmp_path / "x", wrong, {})
  assert not list(tmp_path.iterdir())


def test_unknown_dtypes_are_listed_not_read(tmp_path):
  header = {"i": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}
  text = json.dumps(header).encode()
  path = tmp_path / "x.safetensors"
  path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
  assert tensors.open_tensors(path)["i"].dtype == "I64"

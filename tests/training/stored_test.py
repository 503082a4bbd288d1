"""Arrays of Orbax checkpoints in slices, against Orbax itself."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sapiens2_jax.training import stored

SHAPE = (6, 8, 10)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
  monkeypatch.setattr(stored, "WHOLE_BYTES", 256)


def _arrays(dtype=np.float32):
  x = np.random.default_rng(0).standard_normal(SHAPE).astype(dtype)
  return {
    "stack": x,
    "bias": x[:, 0],
    "small": x[:2, :1, :1],
    "one": x[0, 0, 0],
  }


def _save(path, tree, args=None):
  with ocp.PyTreeCheckpointer() as writer:
    writer.save(path, ocp.args.PyTreeSave(tree, args))
  return path


def _open(path):
  context = stored.new_context()
  return jax.tree.map(
    lambda leaf: stored.open_array(path, leaf.name, context),
    stored.stored_tree(path),
  )


@pytest.mark.parametrize("place", [jnp.asarray, np.asarray])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_large_stacks_are_written_in_slices_and_read_so(tmp_path, dtype, place):
  arrays = _arrays(dtype)
  tree = jax.tree.map(place, {"a": arrays})
  found = _open(_save(tmp_path / "x", tree, stored.save_args(tree)))["a"]
  assert found["stack"].chunks == (1, 8, 10)
  assert found["bias"].chunks == (6, 10)  # two axes: no matrices
  assert found["small"].chunks == (2, 1, 1)
  for name, array in arrays.items():
    assert found[name].shape == array.shape and found[name].dtype == dtype
    assert np.asarray(found[name]).tobytes() == array.tobytes()
  for row, array in enumerate(arrays["stack"]):
    assert found["stack"][row].tobytes() == array.tobytes()


def test_slices_of_sharded_arrays_are_cut_on_each_device(tmp_path):
  mesh = jax.make_mesh((2, 2), ("a", "b"), devices=jax.devices()[:4])
  spec = jax.sharding.PartitionSpec(None, "a", "b")
  array = _arrays()["stack"]
  placed = jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))
  tree = {"stack": placed}
  found = _open(_save(tmp_path / "x", tree, stored.save_args(tree)))["stack"]
  assert found.chunks == (1, 4, 5)
  np.testing.assert_array_equal(found[3], array[3])
  # Orbax reads what it wrote so, onto other devices too.
  with ocp.PyTreeCheckpointer() as reader:
    again = reader.restore(tmp_path / "x")["stack"]
  np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("chunk_bytes", [None, 1000, 300])
def test_other_chunks_are_copied_into_slices(tmp_path, chunk_bytes):
  arrays = _arrays()
  args = jax.tree.map(
    lambda _: ocp.SaveArgs(chunk_byte_size=chunk_bytes), arrays
  )
  found = _open(_save(tmp_path / "x", arrays, args))
  assert found["stack"].chunks[0] > 1
  assert stored.bytes_to_slice(found) == arrays["stack"].nbytes
  sliced = stored.in_slices(found, tmp_path / "slices")
  assert isinstance(sliced["bias"], np.ndarray)
  assert sliced["stack"].chunks == (1, *found["stack"].chunks[1:])
  for row, array in enumerate(arrays["stack"]):
    np.testing.assert_array_equal(sliced["stack"][row], array)
  assert stored.bytes_to_slice(sliced) == 0
  again = stored.in_slices(sliced, tmp_path / "unused")
  assert again["stack"] is sliced["stack"]
  assert not (tmp_path / "unused").exists()


def test_a_sum_is_read_and_copied_in_slices_too(tmp_path):
  rng = np.random.default_rng(0)
  base = _arrays()["stack"]
  a = rng.standard_normal((6, 8, 3)).astype(np.float32)
  b = rng.standard_normal((6, 3, 10)).astype(np.float32)
  tree = {"a": a, "b": b, "base": base}
  found = _open(_save(tmp_path / "x", tree))
  merged = stored.MergedArray(found["base"], found["a"], found["b"])
  expected = base + np.einsum("lir,lro->lio", a, b)
  assert merged.shape == SHAPE and merged.chunks[0] > 1
  for index in (2, 5, slice(1, 3), (), (slice(0, 2), slice(3, 5)), (4, 7)):
    np.testing.assert_allclose(merged[index], expected[index], atol=1e-5)
  np.testing.assert_allclose(np.asarray(merged), expected, atol=1e-5)
  assert stored.bytes_to_slice(merged) == base.nbytes
  sliced = stored.in_slices({"w": merged}, tmp_path / "slices")["w"]
  assert sliced.chunks[0] == 1
  np.testing.assert_allclose(sliced[3], expected[3], atol=1e-5)


def test_a_checkpoint_that_lost_a_part_is_an_error(tmp_path):
  path = _save(tmp_path / "x", _arrays())
  found = _open(path)["stack"]
  for file in (path / "ocdbt.process_0" / "d").iterdir():
    file.unlink()
  with pytest.raises(ValueError, match="NOT_FOUND|not found|Error reading"):
    np.asarray(found)

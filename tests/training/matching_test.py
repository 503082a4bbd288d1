"""Which arrays of a source a new run takes, from shapes alone."""

import jax
import numpy as np
import pytest

from sapiens2_jax.training import matching
from sapiens2_jax.training.state import TrainState

BLOCK, HEAD = (3, 4), (4, 5)
ENCODER = {"norm": {"scale": (4,)}, "blocks": {"kernel": BLOCK}}


def abstract(params, teacher_state=None, moments=None):
  shapes = {"params": params, "teacher_state": teacher_state or {}}
  shapes["opt_state"] = ({}, {"count": (), "mu": moments or params})
  made = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple) and x[:1] != ({},),
  )
  scalar = jax.ShapeDtypeStruct((), np.int32)
  return TrainState(
    scalar, **made, rng=scalar, nonfinite_streak=scalar, nonfinite_total=scalar
  )


def parts_of(state, size="1b"):
  names = ("params", "teacher_state", "opt_state")
  kept = {name: getattr(state, name) for name in names}
  arrays = matching.by_path(kept)
  return matching.Parts("runs/a, step 7", size, 7, arrays, lambda _: {})


def test_an_equal_state_is_taken_whole_and_that_is_said():
  params = {"encoder": ENCODER, "head": {"kernel": HEAD}}
  state = abstract(params, {"teacher": params, "center": (5,)})
  found = matching.match(parts_of(state), state, "1b")
  assert len(found.matched) == 3 + 4 + 4 and not (found.new or found.unused)
  assert "params/head/kernel" in found.matched
  assert [line.split() for line in found.account()] == [
    ["matched", "encoder", "2", "arrays", "16"],
    ["matched", "head", "1", "arrays", "20"],
    ["matched", "center", "1", "arrays", "5"],
    ["matched", "teacher", "3", "arrays", "36"],
    ["matched", "optimizer", "4", "arrays", "37"],
    ["new", "nothing"],
    ["unused", "nothing"],
  ]


def test_what_has_another_shape_is_new_and_the_optimizer_with_it():
  head = {"mlp": {"kernel": (4, 4)}, "prototypes": {"kernel": HEAD}}
  wide = head | {"prototypes": {"kernel": (4, 6)}}
  decoder = {"kernel": (4, 3)}
  old = abstract({"encoder": ENCODER, "head": head, "decoder": decoder})
  new = abstract({"encoder": ENCODER, "head": wide})
  found = matching.match(parts_of(old), new, "1b")
  assert "params/head/mlp/kernel" in found.matched
  assert "params/head/prototypes/kernel" in found.new
  assert {name for name in found.matched if name.startswith("opt")} == set()
  lines = {tuple(line.split()[:2]): line for line in found.account()}
  assert lines["new", "head"].endswith("24  prototypes")
  assert lines["unused", "head"].endswith("20  prototypes")
  assert lines["matched", "head"].endswith("16  mlp")
  assert lines["new", "optimizer"].endswith("whole or not at all")
  assert lines["unused", "decoder"].endswith("1 arrays             12")


def test_only_the_window_stage_of_a_4k_size_may_be_new():
  window = {"window_blocks": {"kernel": (2, 2)}}
  small = abstract({"encoder": ENCODER, "decoder": {"predict": (4, 6)}})
  large = abstract(
    {"encoder": ENCODER | window, "decoder": {"predict": (4, 24)}}
  )
  found = matching.match(parts_of(small, "1b"), large, "1b_4k")
  new = {name for name in found.new if name.startswith("params")}
  assert new == {
    "params/encoder/window_blocks/kernel",
    "params/decoder/predict",
  }
  (line,) = (x for x in found.account() if x.startswith("new      encoder"))
  assert line.endswith("window_blocks")
  with pytest.raises(ValueError, match=r"window_blocks/kernel"):
    matching.match(parts_of(small, "1b_4k"), large, "1b_4k")
  with pytest.raises(ValueError, match="holds a 1b_4k, expected model.size=1b"):
    matching.match(parts_of(large, "1b_4k"), small, "1b")
  lacking = abstract({"encoder": {"norm": {"scale": (4,)}}})
  with pytest.raises(ValueError, match=r"missing \(1\): blocks/kernel$"):
    matching.match(parts_of(lacking, "1b"), large, "1b_4k")


def test_another_encoder_is_an_error_that_names_all_keys():
  other = {"norm": {"scale": (4,)}, "blocks": {"kernel": (3, 5), "bias": (5,)}}
  old = parts_of(abstract({"encoder": other}))
  new = abstract({"encoder": ENCODER | {"cls_token": (1, 4)}})
  with pytest.raises(ValueError) as caught:
    matching.match(old, new, "1b")
  assert str(caught.value).splitlines() == [
    "model.init_from: the encoder of runs/a, step 7 is no 1b",
    "  missing (1): cls_token",
    "  unexpected (1): blocks/bias",
    "  wrong shape (1): blocks/kernel (3, 5) should be (3, 4)",
  ]
  with pytest.raises(ValueError, match="step 7 holds a 1b, expected .*=5b"):
    matching.match(old, new, "5b")

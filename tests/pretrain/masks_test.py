import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens2_jax.pretrain import keys, masks


@settings(max_examples=25, deadline=None)
@given(
  seed=st.integers(0, 2**31 - 1),
  grid=st.sampled_from([(8, 6), (4, 12), (16, 3)]),
  ratio=st.sampled_from([0.25, 0.5, 0.75]),
  block=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_mask_hides_exactly_the_requested_count(seed, grid, ratio, block):
  visible, hidden = masks.draw_mask(
    jax.random.key(seed), grid, mask_ratio=ratio, block_probability=block
  )
  patches = grid[0] * grid[1]
  assert len(hidden) == round(patches * ratio)
  assert sorted([*visible.tolist(), *hidden.tolist()]) == list(range(patches))
  assert np.all(np.diff(visible) > 0)
  assert np.all(np.diff(hidden) > 0)


def hidden_neighbors(block_probability: float) -> float:
  """Share of horizontally adjacent pairs with equal state."""
  grid = (64, 48)

  def one(key):
    _, hidden = masks.draw_mask(
      key, grid, mask_ratio=0.75, block_probability=block_probability
    )
    mask = jax.numpy.zeros(grid[0] * grid[1], bool).at[hidden].set(True)
    mask = mask.reshape(grid)
    return jax.numpy.mean(mask[:, 1:] == mask[:, :-1])

  draws = jax.vmap(one)(jax.random.split(jax.random.key(0), 32))
  return float(draws.mean())


def test_blockwise_masks_are_blocks():
  # Independent patches agree with their neighbour with 0.75^2 + 0.25^2.
  np.testing.assert_allclose(hidden_neighbors(0.0), 0.625, atol=0.01)
  assert hidden_neighbors(1.0) > 0.85


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.001])
def test_a_mask_that_hides_nothing_or_all_is_refused(ratio):
  with pytest.raises(ValueError, match=f"mask_ratio={ratio}"):
    masks.num_masked(48, ratio)


def test_keys_depend_on_example_and_purpose_only():
  rng = jax.random.key(0)
  index, epoch = np.array([3, 9, 4]), np.array([0, 0, 1])
  all_keys = keys.example_keys(rng, keys.MASK, index, epoch, 2)
  alone = keys.example_keys(rng, keys.MASK, index[1:2], epoch[1:2], 2)
  data = jax.random.key_data
  np.testing.assert_array_equal(data(all_keys[1:2]), data(alone))
  flips = keys.example_keys(rng, keys.FLIP, index, epoch, 2)
  everything = np.concatenate([data(all_keys), data(flips)]).reshape(-1, 2)
  assert len(np.unique(everything, axis=0)) == len(everything)


@settings(max_examples=25, deadline=None)
@given(
  seed=st.integers(0, 2**31 - 1),
  grid=st.sampled_from([(8, 6), (4, 12), (16, 3), (7, 5)]),
  ratio=st.sampled_from([0.25, 0.5, 0.75]),
  side=st.integers(1, 5),
)
def test_grid_masks_hide_whole_squares_but_one(seed, grid, ratio, side):
  visible, hidden = masks.draw_mask(
    jax.random.key(seed),
    grid,
    mask_ratio=ratio,
    block_probability=0.4,
    mode="grid",
    block_size=side,
  )
  patches = grid[0] * grid[1]
  assert len(hidden) == round(patches * ratio)
  assert sorted([*visible.tolist(), *hidden.tolist()]) == list(range(patches))
  mask = np.zeros(patches, bool)
  mask[hidden] = True
  mask = mask.reshape(grid)
  squares = [
    mask[row : row + side, col : col + side]
    for row in range(0, grid[0], side)
    for col in range(0, grid[1], side)
  ]
  # The square that is trimmed to the exact count is the only mixed one.
  assert sum(square.any() and not square.all() for square in squares) <= 1


def test_grid_masks_hide_every_patch_equally_often():
  def one(key):
    _, hidden = masks.draw_mask(
      key, (8, 8), mask_ratio=0.5, block_probability=0.0, mode="grid"
    )
    return jax.numpy.zeros(64).at[hidden].set(1)

  share = jax.vmap(one)(jax.random.split(jax.random.key(0), 4000)).mean(0)
  # Five standard deviations of a binomial of 4000 at one half.
  np.testing.assert_allclose(share, 0.5, atol=0.04)


@pytest.mark.parametrize(("aspect", "is_tall"), [(16.0, True), (0.06, False)])
def test_rectangles_have_the_area_and_the_aspect_of_the_config(aspect, is_tall):
  def one(key):
    _, hidden = masks.draw_mask(
      key,
      (16, 16),
      mask_ratio=1 / 16,
      block_probability=1.0,
      rectangle_area=(1 / 16, 1 / 16),
      rectangle_aspect=(aspect, aspect),
    )
    return hidden

  for hidden in jax.vmap(one)(jax.random.split(jax.random.key(0), 8)):
    rows, cols = np.divmod(np.asarray(hidden), 16)
    sizes = np.ptp(rows) + 1, np.ptp(cols) + 1
    assert sizes == ((16, 1) if is_tall else (1, 16))


def test_an_unknown_mask_mode_is_refused():
  with pytest.raises(ValueError, match="masking.mode 'grids'; did you mean"):
    masks.draw_mask(
      jax.random.key(0),
      (4, 4),
      mask_ratio=0.5,
      block_probability=0.0,
      mode="grids",
    )

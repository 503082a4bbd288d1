"""Retrieval by [cls]: which image is most like another one.

Groups say which rows belong together, e.g. two crops of one photograph. All
numbers are fractions in [0, 1]; NaN where no row has anything to find.
"""

import numpy as np
from jaxtyping import Float, Int

HIGHER_IS_BETTER = ("recall_1", "recall_5", "mrr")  # of `retrieve`


def find_neighbors(
  features: Float[np.ndarray, "n d"], count: int
) -> tuple[Int[np.ndarray, "n c"], Float[np.ndarray, "n c"]]:
  """The most similar other rows of each row, by cosine.

  Args:
    features: one row a sample.
    count: of neighbours; fewer if there are not as many other rows.

  Returns:
    Row numbers and cosine similarities in [-1, 1], most similar first.
  """
  x = features.astype(np.float64)
  x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  similarity = x @ x.T
  np.fill_diagonal(similarity, -np.inf)
  count = min(count, len(x) - 1)
  ids = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
  return ids, np.take_along_axis(similarity, ids, axis=1)


def same_group_fraction(
  ids: Int[np.ndarray, "n c"], groups: Int[np.ndarray, "n"]
) -> float:
  """Fraction of rows whose nearest neighbour is of the same group."""
  if not ids.shape[1]:
    return float("nan")
  return float(np.mean(groups[ids[:, 0]] == groups))


def chance_level(groups: Int[np.ndarray, "n"]) -> float:
  """`same_group_fraction` of neighbours drawn at random from other rows."""
  if len(groups) < 2:
    return float("nan")
  others = np.sum(groups[:, None] == groups[None, :], axis=1) - 1
  return float(np.mean(others) / (len(groups) - 1))


def retrieve(
  features: Float[np.ndarray, "n d"], groups: Int[np.ndarray, "n"]
) -> dict[str, float]:
  """How soon the others of a row's group come among its neighbours.

  Rows that are alone in their group are not asked, but may be found.

  Returns:
    recall_1 and recall_5: fraction of rows with one of their group among the
    nearest 1 and 5; mrr: mean of 1 / the place of the first one; and each of
    them as `chance_...`, for neighbours in random order.
  """
  ids, _ = find_neighbors(features, len(features))
  is_same = groups[ids] == groups[:, None]
  others = is_same.sum(axis=1)
  asked = others > 0
  if not asked.any():
    names = ("recall_1", "recall_5", "mrr")
    wanted = (*names, *(f"chance_{name}" for name in names))
    return dict.fromkeys(wanted, float("nan"))
  first = is_same[asked].argmax(axis=1)  # places, from 0
  chances = [_first_place(len(groups) - 1, count) for count in others[asked]]
  chance = np.mean(chances, axis=0)
  places = np.arange(1, len(chance) + 1)
  return {
    "recall_1": float(np.mean(first < 1)),
    "recall_5": float(np.mean(first < 5)),
    "mrr": float(np.mean(1 / (first + 1))),
    "chance_recall_1": float(chance[:1].sum()),
    "chance_recall_5": float(chance[:5].sum()),
    "chance_mrr": float(np.sum(chance / places)),
  }


def _first_place(total: int, wanted: int) -> Float[np.ndarray, "total"]:
  """Probability that the first of `wanted` of `total` has place 1, 2, ..."""
  taken = np.arange(total)
  left = total - taken
  missed = np.maximum(left - wanted, 0) / left  # at this place, if not before
  before = np.concatenate([[1.0], np.cumprod(missed)[:-1]])
  return before * (1 - missed)

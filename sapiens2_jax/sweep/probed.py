"""What probes while pretraining measured in runs of several seeds."""

from collections.abc import Iterable, Mapping, Sequence

from sapiens2_jax.evaluation.goals import require_goal
from sapiens2_jax.sweep import phases
from sapiens2_jax.sweep.status import read_ends

# Of a column of a table: its metric.
COLUMNS = {
  "normals, degrees": "probe_normal_deg",
  "albedo MAE": "probe_albedo_mae",
  "pointmap L2": "probe_pointmap_l2",
  "parts, mIoU %": "probe_segmentation_miou",
  "retrieval MRR": "probe_mrr",
}
# Of a column its numbers, one a seed.
Row = Mapping[str, Sequence[float]]


def read(
  workdirs: Iterable[str],
  columns: Iterable[str] = tuple(COLUMNS),
  *,
  is_first: bool = False,
) -> dict[str, list[float]]:
  """The last numbers of each run, or the first.

  Args:
    workdirs: of one run a seed.
    columns: of `COLUMNS`.
    is_first: those that were measured first.

  Raises:
    ValueError: a run has none, as it was stopped before.
  """
  workdirs, place = list(workdirs), 0 if is_first else 1
  return {
    title: [read_ends(one, COLUMNS[title])[place] for one in workdirs]
    for title in columns
  }


def cells(row: Row) -> list[str]:
  """Mean and standard deviation of each column."""
  return [phases.mean_std(values) for values in row.values()]


def compare(ours: Row, others: Row) -> list[str]:
  """Of each column whether ours is better; see `phases.compare`."""
  return [
    phases.compare(
      values, others[title], require_goal(COLUMNS[title], None).sign > 0
    )
    for title, values in ours.items()
  ]

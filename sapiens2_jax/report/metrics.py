"""What was measured in a run: found in its rows, known by no name."""

import dataclasses
import math

Rows = list[dict]

# Counts of the loop and of the evaluation, which make no curves.
_COUNTS = (
  *("nonfinite_streak", "nonfinite_total"),
  *("eval_images", "eval_skipped"),
)
# What the loop adds, and of speed.jsonl what tells whether it is fed.
_SPEED = ("grad_norm", "lr", "images_per_second", "data_wait")


@dataclasses.dataclass(frozen=True)
class Note:
  """What is known of a metric beside its values."""

  text: str = ""  # what it is, read after its name and a colon
  reference: float | None = None  # a value to compare it with
  label: str = ""  # what the reference is
  form: str = "{:.3f}"  # of a value


@dataclasses.dataclass(frozen=True)
class Group:
  """Metrics that are shown together."""

  name: str  # of the group, and of files
  heading: str  # of it in a page
  prefix: str  # of the metrics' names
  text: str  # what they are
  is_short: bool = False  # whether the prefix is left out above a curve
  is_folded: bool = False  # whether a page shows it when asked

  def title(self, key: str) -> str:
    return key.removeprefix(self.prefix) if self.is_short else key


# A metric is in the first group that it fits.
_GROUPS = (
  Group(
    "losses",
    "Losses",
    "loss",
    "The loss and its parts.",
  ),
  Group(
    "evaluation",
    "Evaluation",
    "eval_",
    "Measured on evaluation.path.",
    is_short=True,
  ),
  Group(
    "probes",
    "Probes",
    "probe_",
    "Measured by probes of frozen features.",
    is_short=True,
  ),
  Group(
    "statistics",
    "Statistics",
    "",
    "What else was measured on batches of training.",
    is_folded=True,
  ),
)
_SPEED_GROUP = Group(
  "speed",
  "Speed",
  "",
  "Gradient norm before clipping, learning rate, throughput (the first value "
  "contains compilation), and the fraction of time in which the step waited "
  "for data, which should be near 0.",
  is_folded=True,
)
SPEED_NOTES = {
  "lr": Note(form="{:.1e}"),
  "images_per_second": Note(form="{:.1f}"),
  "data_wait": Note(form="{:.1%}"),
}


def series(rows: Rows, key: str) -> tuple[list[int], list[float]]:
  """Steps (from 1) and values where `key` is finite."""
  points = [
    (row["step"] + 1, row[key])
    for row in rows
    if row.get(key) is not None and math.isfinite(row[key])
  ]
  return [step for step, _ in points], [value for _, value in points]


def ends(rows: Rows, key: str) -> tuple[float | None, float | None]:
  """First and last finite value of a metric, None where there is none."""
  values = series(rows, key)[1]
  return (values[0], values[-1]) if values else (None, None)


def find(rows: Rows) -> list[str]:
  """Names of all that was measured: loss, its parts, the rest in order."""
  names = dict.fromkeys(name for row in rows for name in row)
  names.pop("step", None)
  return sorted(names, key=lambda n: (not n.startswith("loss"), n != "loss"))


def group(rows: Rows) -> list[tuple[Group, list[str]]]:
  """The groups that have metrics, and which; speed is the last."""
  members: dict[Group, list[str]] = {one: [] for one in _GROUPS}
  for key in find(rows):
    if key not in (*_SPEED, *_COUNTS):
      fitting = next(g for g in _GROUPS if key.startswith(g.prefix))
      members[fitting].append(key)
  found = [(one, keys) for one, keys in members.items() if keys]
  return [*found, (_SPEED_GROUP, list(_SPEED))]

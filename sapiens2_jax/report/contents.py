"""What an objective adds to the report of a run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from sapiens2_jax.report.metrics import Note
from sapiens2_jax.report.page import Figure, Section, Verdict
from sapiens2_jax.report.photographs import Credit
from sapiens2_jax.report.run import Run


@dataclasses.dataclass(frozen=True)
class Contents:
  """What an objective adds."""

  title: str  # of the page
  verdict: Verdict  # which leads it
  highlights: Figure | None  # three pictures below the verdict
  experiment: str  # file and arguments that `--config` of such a run names
  facts: Sequence[tuple[str, str]]  # of the run, (name, value)
  sections: Sequence[Section]  # in the order of the page
  notes: Mapping[str, Note]  # by names of metrics; any may be missing
  # What to run next, (why, command), beside what fits every run.
  commands: Sequence[tuple[str, str]]
  credits: Sequence[Credit]  # of the photographs that were read
  missing: str  # what is not there or not as usual, "" if all is
  can_export: bool = True  # whether the model can be exported


# What `Objective.report` returns; it takes the run, the photographs to look
# at (None: those of the run), and how many of them are read, at most.
MakeContents = Callable[[Run, str | None, int], Contents]

"""The page of a sweep: its ranking above the comparison of all points."""

from sapiens2_jax.evaluation.goals import find_goal
from sapiens2_jax.report import comparison
from sapiens2_jax.report.comparison import Run, letter_of
from sapiens2_jax.report.page import Section, Table, Verdict
from sapiens2_jax.sweep.points import Point
from sapiens2_jax.sweep.ranking import WARNING, Ranking
from sapiens2_jax.training import writers


def make_page(points: list[Point], ranking: Ranking) -> str:
  """The whole document; points that nobody has started are in it, too."""
  runs = [
    Run(
      letter_of(number),
      point.workdir,
      point.config,
      writers.read_metrics(point.workdir),
      writers.read_speed(point.workdir),
    )
    for number, point in enumerate(points)
  ]
  rows = [
    [
      str(place.number or "-"),
      letter,
      place.label,
      "-" if place.value is None else f"{place.value:.4g}",
      place.why,
    ]
    for place, letter in ranking.ordered([run.letter for run in runs])
  ]
  header = ("rank", "", "point", ranking.goal.name, "not ranked, as it is")
  section = Section("ranking", "Ranking", tables=[Table(rows, header)])
  return comparison.make_page(runs, find_goal, _judge(ranking), [section])


def _judge(ranking: Ranking) -> Verdict:
  goal = ranking.goal.name
  ranked = [p for p, _ in ranking.ordered(ranking.places) if p.number]
  if not ranked:
    return Verdict(f"No point is ranked: none is done and has measured {goal}.")
  first, *others = ranked
  text = (
    f"Ranked by {goal}, {ranking.better} is better, {first.label} is best: "
    f"{first.value:.4g}"
  )
  text += f", the next has {others[0].value:.4g}." if others else "."
  if goal.startswith("loss"):
    text += f" But {WARNING}."
  return Verdict(text)

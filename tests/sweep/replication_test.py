"""experiments/replication.py: its runs, its phases and its tables."""

import json
import pathlib

import pytest

from sapiens2_jax.config import load_module
from sapiens2_jax.sweep import points

FILE = pathlib.Path(__file__).parents[2] / "experiments" / "replication.py"


@pytest.fixture(scope="module")
def replication():
  return load_module(FILE)


def test_runs_of_a_seed_differ_in_the_weights_of_the_losses(replication):
  found = points.make_points(str(FILE), "runs", ["data.path=corpus"], 1)
  trained = [p for p in found if p.config.optim.num_steps > 1]
  assert len(found) - len(trained) == 2 and len(trained) == 6
  names = ("w_mae", "w_cl", "w_koleo")
  weights = [tuple(p.config.objective[n] for n in names) for p in trained]
  assert weights == 2 * [(1.0, 0.0, 0.0), (0.0, 0.4, 0.04), (1.0, 0.4, 0.04)]
  for point in trained:
    with point.config.unlocked():
      point.config.seed = 0
      point.config.objective.update(dict.fromkeys(names, 0.0))
  assert all(p.config == trained[0].config for p in trained)


def test_probes_are_made_of_the_runs_and_none_twice(replication, tmp_path):
  output = str(tmp_path)
  made = replication.make_phases(output)
  runs = replication.runs_folder(output)
  found = points.make_points(str(FILE), runs, ["data.path=corpus"], 1)
  probed = [phase for phase in made if phase.done]
  checkpoints = [
    p.arguments[p.arguments.index("--checkpoint") + 1] for p in probed
  ]
  assert sorted(checkpoints) == sorted(point.workdir for point in found)
  assert len({phase.done for phase in probed}) == len(probed)


def test_a_run_that_was_stopped_is_not_probed(replication, tmp_path):
  output = str(tmp_path)
  found = points.make_points(
    str(FILE), replication.runs_folder(output), ["data.path=corpus"], 1
  )
  needed = [p.needs for p in replication.make_phases(output) if p.needs]
  last = [f"{p.workdir}/checkpoints/{p.num_steps}" for p in found]
  assert sorted(needed) == sorted(last)


def write_results(replication, output, value) -> None:
  """Results of all probes; `value(variant, seed, title)` before its factor."""
  for variant in replication.VARIANTS:
    for seed in (0, 1):
      path = pathlib.Path(replication.results_path(output, variant, seed))
      path.parent.mkdir(parents=True)
      results: dict = {}
      for title, column in replication.COLUMNS.items():
        found = value(variant, seed, title) / column.factor
        results.setdefault(column.task, {})[column.key] = found
      path.write_text(json.dumps({"results": results}))


def test_tables_of_numbers_that_go_the_papers_way(replication, tmp_path):
  def papers(variant, seed, title):
    column = replication.COLUMNS[title]
    if variant not in replication.PAPER_ROWS or not column.paper:
      return 1.0 + seed
    place = list(replication.PAPER_ROWS).index(variant)
    return column.paper[place] * (1 + 1e-4 * seed)

  write_results(replication, tmp_path, papers)
  measured = replication.read_results(str(tmp_path))
  assert measured["joint"]["albedo MAE x 1e-2"][0] == pytest.approx(3.64)
  table = replication.format_table(measured)
  assert "| toy, random weights | 1.5 ± 0.5 |" in table[2]
  assert table[-1].startswith("| paper: Sapiens2-1B, joint | 68.3 | - | 65.2")
  directions = replication.format_directions(measured)[2:]
  assert len(directions) == 10
  assert all(line.endswith("| agrees |") for line in directions)
  assert sum("(the claim)" in line for line in directions) == 4
  # The one column in which the paper's joint model is not the best.
  assert any("seg mIoU | worse | worse" in line for line in directions)
  assert replication.draw(measured).startswith(b"\x89PNG")

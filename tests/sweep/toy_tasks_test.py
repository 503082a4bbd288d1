"""experiments/toy_tasks.py: its runs, its table and its picture."""

import json
import pathlib

import pytest

from sapiens2_jax.config import load_config, load_module
from sapiens2_jax.runtime import goodput

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toy_tasks():
  return load_module(ROOT / "experiments" / "toy_tasks.py")


def read_config(phase):
  """The config that the command of a training resolves to."""
  arguments = list(phase.arguments)
  spec = arguments[arguments.index("--config") + 1]
  overrides = [
    argument.removeprefix("--config.")
    for argument in arguments
    if argument.startswith("--config.")
  ]
  return load_config(spec, overrides, lambda config: [])


def test_runs_of_a_task_differ_in_their_seed(toy_tasks, tmp_path):
  phases = toy_tasks.make_phases(str(tmp_path))
  trained = [phase for phase in phases if phase.title.startswith("train")]
  assert len(trained) == 3 * len(toy_tasks.TASKS)
  for start in range(0, len(trained), 3):
    configs = [read_config(phase) for phase in trained[start : start + 3]]
    assert [config.seed for config in configs] == [0, 1, 2]
    for config in configs:
      assert config.model.init_from == ""
      assert config.data.path != config.evaluation.path
      config.seed = 0
    assert configs[0] == configs[1] == configs[2]


def test_a_report_needs_the_last_checkpoint_of_its_run(toy_tasks, tmp_path):
  phases = toy_tasks.make_phases(str(tmp_path))[2:]
  for train, report in zip(phases[::2], phases[1::2]):
    config = read_config(train)
    workdir = train.arguments[train.arguments.index("--workdir") + 1]
    last = f"{workdir}/checkpoints/{config.optim.num_steps}"
    assert train.done == report.needs == last
    assert report.arguments[-1] == workdir


def test_the_table_has_the_last_number_of_each_seed(toy_tasks, tmp_path):
  for place, (task, metric) in enumerate(toy_tasks.TASKS.items()):
    for seed in toy_tasks.SEEDS:
      workdir = pathlib.Path(toy_tasks.workdir_of(str(tmp_path), task, seed))
      workdir.mkdir()
      rows = [
        {"step": 0, "loss": 5.0},
        {"step": 4, "loss": 3.0, metric.key: 99.0},
        {"step": 9, "loss": 2.0, metric.key: 10.0 * place + seed},
      ]
      text = "".join(json.dumps(row) + "\n" for row in rows)
      (workdir / "metrics.jsonl").write_text(text)
      ledger = goodput.Ledger(0.0, 0.0)
      ledger.seconds.update(step=300.0, compile=60.0 * seed, down=1e6)
      goodput.save(ledger, str(workdir))
  contents = toy_tasks.summarize(str(tmp_path))
  table = contents["toy_tasks.md"].decode().splitlines()
  assert "| 0.0 | 1.0 | 2.0 | **1.0 ± 1.0** | 5, 6, 7 |" in table[2]
  assert "| 20.0 | 21.0 | 22.0 | **21.0 ± 1.0** | 5, 6, 7 |" in table[4]
  assert contents["toy_tasks.png"].startswith(b"\x89PNG")

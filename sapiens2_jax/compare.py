r"""Puts runs side by side on one page.

    sapiens2 compare runs/a runs/b --output page.html

Curves, numbers and configs. A run is a workdir of training, on a disk or in a
bucket, finished or not. The page needs nothing else. Metrics of all runs share
a figure each; of each number that says which side is better the best is marked.
"""

from absl import flags

from data_pipelines.common.files import write_file
from sapiens2_jax import command, validation
from sapiens2_jax.evaluation.goals import find_goal
from sapiens2_jax.report import comparison

_OUTPUT = flags.DEFINE_string("output", None, "The page to write, X.html.")


def main(*workdirs: str) -> None:
  if not _OUTPUT.value.endswith(".html"):
    raise ValueError(f"output={_OUTPUT.value}: expected a file, X.html")
  runs = comparison.read_runs(workdirs, validation.read_config)
  page = comparison.make_page(runs, find_goal)
  write_file(_OUTPUT.value, page.encode())
  print(f"compared   {len(runs)} runs")
  print(f"page       {_OUTPUT.value}", flush=True)


def run() -> None:
  command.run(main, "output", takes_more=True)


if __name__ == "__main__":
  run()

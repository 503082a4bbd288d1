r"""Shows a run on one page: curves, pictures, measures.

    sapiens2 report --checkpoint runs/quickstart

Writes DIR/report/index.html, one file with everything inside; the pictures
and curves also as single PNG files, and the numbers as summary.json.

It computes on all devices of one process: a report is of few photographs, and
reads the checkpoints of any number of processes. In a job of several, process 0
makes it and the others wait.
"""

from absl import flags, logging

from sapiens2_jax import command, validation
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.objectives import build_for_inference
from sapiens2_jax.report.run import read_run
from sapiens2_jax.report.writing import write_report
from sapiens2_jax.runtime import distributed

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir of a run")
_DATA = flags.DEFINE_string(
  "data",
  None,
  "Photographs to look at; default: those of the run. Of a task, with labels.",
)
_NUM_PHOTOGRAPHS = flags.DEFINE_integer(
  "num_photographs", 32, "At most so many are read.", lower_bound=1
)
_ROPE_DTYPE = command.define_rope_dtype(TABLES)


def main() -> None:
  # Of a TPU slice no host can be used without the others.
  distributed.by_one(validation.distributed_config([], "a report"), make_report)


def make_report() -> None:
  # Orbax warns of a file that this kind of checkpoint never has.
  logging.set_verbosity(logging.ERROR)
  run = read_run(_CHECKPOINT.value, validation.read_config)
  if _ROPE_DTYPE.value:
    run.config.model.rope_dtype = _ROPE_DTYPE.value
  make_contents = build_for_inference(run.config).report()
  contents = make_contents(run, _DATA.value, _NUM_PHOTOGRAPHS.value)
  page = write_report(run, contents)
  print(f"report     {page}", flush=True)


def run() -> None:
  command.run(main, "checkpoint")


if __name__ == "__main__":
  run()

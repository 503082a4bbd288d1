"""The notebook of the docs runs from top to bottom."""

import os
import pathlib
import shutil
import sys

import matplotlib
import nbclient
import nbformat
import pytest
from PIL import Image

from tests.interop import runs

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "docs" / "first_steps.ipynb"


def test_the_notebook_is_small_and_its_outputs_are_those_of_its_cells():
  assert PATH.stat().st_size < 300_000
  notebook = nbformat.read(PATH, as_version=4)
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
  outputs = [output for cell in cells for output in cell.outputs]
  assert not [x for x in outputs if x.output_type == "error"]
  pictures = [x for x in outputs if "image/png" in x.get("data", {})]
  assert len(pictures) == 2
  assert "/home/" not in PATH.read_text() and "/tmp/" not in PATH.read_text()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
  """Beside a run, and in fewer steps."""
  runs.write_run(tmp_path / "runs" / "quickstart")
  photographs = tmp_path / "runs" / "quickstart" / "corpus" / "photographs"
  photographs.mkdir(parents=True)
  grace = pathlib.Path(matplotlib.get_data_path(), "sample_data")
  shutil.copy(grace / "grace_hopper.jpg", photographs)
  with Image.open(grace / "grace_hopper.jpg") as photo:
    photo.crop((60, 0, 460, 400)).save(photographs / "astronaut.png")
  command = tmp_path / "bin" / "sapiens2"
  command.parent.mkdir()
  command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sapiens2_jax "$@"\n')
  command.chmod(0o755)
  monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  text = PATH.read_text()
  assert text.count("optim.num_steps=150") == 1
  text = text.replace("optim.num_steps=150", "optim.num_steps=12")
  notebook = nbformat.reads(text, as_version=4)
  client = nbclient.NotebookClient(
    notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
  )
  client.execute()
  last = [x for x in notebook.cells[-2].outputs if x.output_type == "stream"]
  degrees = int(last[0].text.split()[0])
  assert 0 < degrees < 90
  assert (tmp_path / "runs" / "balls" / "checkpoints" / "12").is_dir()

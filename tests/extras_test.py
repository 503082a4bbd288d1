"""What an installation without extras can do, and says about the rest."""

import os
import pathlib
import re
import runpy
import subprocess
import sys
from importlib import metadata

import pytest
import setuptools
from packaging.requirements import Requirement

from sapiens2_jax import doctor

ROOT = pathlib.Path(__file__).parents[1]
# Module -> the extra that brings it.
OPTIONAL = {
  "OpenEXR": "exr",
  "ai_edge_litert": "curation",
  "daft": "curation",
  "matplotlib": "report",
  "numba": "synthetic",
  "onnx": "onnx",
  "onnxruntime": "onnx",
  "pdqhash": "curation",
  "pillow_heif": "heif",
  "pyarrow": "curation",
  "tensorboardX": "tensorboard",
  "tensorflow_datasets": "tfds",
  "wandb": "wandb",
}

# Makes the optional modules look as if they were not installed.
HIDDEN = f"""
import sys

class Finder:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in {set(OPTIONAL)}:
      raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Finder())
"""


def run(code, *arguments):
  return subprocess.run(
    [sys.executable, "-c", HIDDEN + code, *map(str, arguments)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.parametrize(
  "modules",
  [
    "data_pipelines.build_corpus, data_pipelines.verify_corpus, "
    "data_pipelines.sample_corpus, data_pipelines.annotated.__main__, "
    "data_pipelines.open_source",
    *(f"sapiens2_jax.{name}" for name in ("train", "evaluate", "predict")),
    "sapiens2_jax.curate",
    "sapiens2_jax.audit.__main__",
    *(f"sapiens2_jax.{name}" for name in ("export", "import_weights", "plan")),
  ],
)
def test_the_main_commands_start_without_any_extra(modules):
  done = run(f"import {modules}")
  assert done.returncode == 0, done.stderr


def test_a_tfds_dataset_names_the_extra_and_the_field(tmp_path):
  (tmp_path / "dataset_info.json").write_text("{}")
  done = run(
    "from data_pipelines.open_source import open_field\n"
    "open_field('data.path', sys.argv[1])",
    tmp_path,
  )
  assert done.stderr.splitlines()[-1] == (
    f"ValueError: data.path={tmp_path}: tensorflow_datasets is not installed; "
    "it comes with the extra tfds: pip install 'sapiens2-jax[tfds]'"
  )


@pytest.mark.parametrize(
  "module, extra",
  [
    ("sapiens2_jax.report.__main__", "report"),
    ("data_pipelines.humans_tfds.__main__", "tfds"),
    ("data_pipelines.synthetic.__main__", "synthetic"),
  ],
)
def test_a_command_that_needs_an_extra_names_it(module, extra):
  done = run(f"import {module}")
  assert done.stderr.splitlines()[-1].endswith(
    f"it comes with the extra {extra}: pip install 'sapiens2-jax[{extra}]'"
  )


@pytest.mark.parametrize("call", ["check(None)", "forward('unused')"])
def test_onnx_names_the_extra(call):
  done = run(
    f"from sapiens2_jax.interop import onnx_export\nonnx_export.{call}"
  )
  assert done.stderr.splitlines()[-1].endswith(
    "it comes with the extra onnx: pip install 'sapiens2-jax[onnx]'"
  )


def test_a_run_without_tensorboard_has_its_other_files(tmp_path):
  done = run(
    "from sapiens2_jax.training.writers import Writers\n"
    "writers = Writers(sys.argv[1], 0)\n"
    "writers.write_metrics(1, {'loss': 2.0})\n"
    "writers.write_speed(1, {'wait': None})\n"
    "writers.close()",
    tmp_path,
  )
  assert done.returncode == 0, done.stderr
  assert "the extra tensorboard is not installed" in done.stderr
  assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "speed.jsonl"]
  assert (
    tmp_path / "metrics.jsonl"
  ).read_text() == '{"step": 1, "loss": 2.0}\n'


@pytest.fixture
def given(monkeypatch):
  """What setup.py says."""
  given = {}
  monkeypatch.setattr(setuptools, "setup", given.update)
  runpy.run_path(str(ROOT / "setup.py"))
  return given


def product_requirements(given) -> dict[str, Requirement]:
  extras = given["extras_require"]
  texts = [*given["install_requires"]]
  texts += [text for name in extras if name != "test" for text in extras[name]]
  return {need.name: need for need in map(Requirement, texts)}


def pins() -> dict[str, str]:
  lines = (ROOT / "launch" / "constraints.txt").read_text().splitlines()
  return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_lower_bounds_are_what_the_suite_runs_with(given):
  needs = product_requirements(given)
  # A constraint would stand against the libtpu that jax[tpu] asks for.
  assert str(needs.pop("libtpu").specifier).startswith("==")
  assert "libtpu" not in pins()
  for name, need in needs.items():
    bounds = {one.operator: one.version for one in need.specifier}
    assert bounds[">="] == pins()[name], name


def test_the_page_states_both_ends_as_setup_does(given):
  rows = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "install.md").read_text().splitlines()
    if re.match(r"\| (\| Python|oldest|newest) ", line)
  ]
  names, oldest, newest = rows
  assert given["python_requires"] == f">={oldest[1]}"
  for name, old, new in list(zip(names, oldest, newest))[2:]:
    bounds = product_requirements(given)[name].specifier
    assert pins()[name] == old
    assert new in bounds
    assert "<" in {one.operator for one in bounds}


def test_the_newest_packages_have_no_upper_bound(monkeypatch, capsys):
  needs = [
    "jax[tpu]<0.13,>=0.10",
    "numba>=1; extra == 'test'",
    "x; extra == 'y'",
  ]
  monkeypatch.setattr(metadata, "requires", lambda name: needs)
  newest = runpy.run_path(str(ROOT / "launch" / "newest.py"))
  newest["main"]("test")
  assert capsys.readouterr().out.split() == ["jax[tpu]", "numba"]


def test_the_doctor_knows_every_extra(given):
  assert doctor.EXTRAS.keys() == given["extras_require"].keys()


def test_every_optional_module_is_of_its_extra_alone(given):
  def names(requirements):
    return {
      re.split(r"[^A-Za-z0-9_-]", text)[0].replace("-", "_")
      for text in requirements
    }

  extras = given["extras_require"]
  for module, extra in OPTIONAL.items():
    assert module not in names(given["install_requires"])
    assert module in names(extras[extra])
    assert module in names(extras["test"])

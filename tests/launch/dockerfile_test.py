"""What can be said of the image without building it."""

import json
import re
import runpy

import pytest
import setuptools

from tests.launch import fakes

TEXT = (fakes.ROOT / "launch" / "Dockerfile").read_text()
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "ENTRYPOINT"}
IGNORE = (fakes.ROOT / ".dockerignore").read_text().splitlines()


def instructions() -> list[tuple[str, str]]:
  lines = re.sub(r"\\\n", " ", TEXT).splitlines()
  return [
    tuple(line.split(maxsplit=1))
    for line in lines
    if line.strip() and not line.startswith("#")
  ]


def values(name: str) -> list[str]:
  return [text for found, text in instructions() if found == name]


def test_instructions_are_known_and_begin_with_one_base():
  names = [name for name, _ in instructions()]
  assert set(names) <= KNOWN
  assert names[0] == "FROM"
  assert names.count("FROM") == names.count("ENTRYPOINT") == 1


@pytest.mark.parametrize("text", values("COPY"))
def test_what_is_copied_exists_and_is_not_ignored(text):
  *sources, _ = text.split()
  for source in sources:
    assert (fakes.ROOT / source).exists()
    assert "*" in IGNORE
    assert f"!{source.split('/')[0]}" in IGNORE


def test_pip_installs_an_extra_that_exists_with_the_constraints(monkeypatch):
  install = next(text for text in values("RUN") if "pip install" in text)
  constraints = re.search(r"--constraint (\S+)", install)[1]
  assert "${EXTRA}" in install
  assert (fakes.ROOT / constraints).is_file()
  assert any(text.startswith(constraints) for text in values("COPY"))
  given = {}
  monkeypatch.setattr(setuptools, "setup", given.update)
  runpy.run_path(str(fakes.ROOT / "setup.py"))
  base = re.fullmatch(r"python:3\.(\d+)-slim", values("FROM")[0])
  lowest = re.fullmatch(r">=3\.(\d+)", given["python_requires"])
  assert int(base[1]) >= int(lowest[1])
  extras = given["extras_require"]
  default = dict(text.split("=") for text in values("ARG"))["EXTRA"]
  assert default == "tpu"
  assert extras["tpu"][0].startswith("jax[tpu]")
  assert extras["gpu"][0].startswith("jax[cuda12]")
  # Images for training do not carry PyTorch.
  for name in ("tpu", "gpu"):
    needed = given["install_requires"] + extras[name]
    assert not any(text.startswith("torch") for text in needed)


def test_docker_run_with_train_flags_is_the_train_command(tmp_path):
  entry = json.loads(values("ENTRYPOINT")[0])
  cluster = fakes.Cluster(tmp_path / "fakes")
  cluster.home = cluster.home / "sapiens2_jax"
  train = fakes.train_flags("/run/a b", "seed=1")
  done = cluster.run(*entry, *train)
  assert done.returncode == 0, done.stderr
  expected = [["python", "-m", "sapiens2_jax.train", *train]]
  assert cluster.calls() == expected

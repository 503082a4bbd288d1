"""Hosts that hold other images under the same name are told so at the start.

Each process takes a share of the images: of two lists nothing would fit.
"""

from unittest import mock

import pytest

from sapiens2_jax.evaluation import online, probing
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel.mesh import make_mesh
from sapiens2_jax.runtime import gathering
from sapiens2_jax.training import data
from sapiens2_jax.training.state import TrainState
from tests import tiny, tiny_task
from tests.evaluation import labelled


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  root = tmp_path_factory.mktemp("shared")
  records = [labelled.make_record(n) for n in range(2)]
  return tiny_task.write_corpus(root / "images", records)


def train(path: str) -> None:
  data.open_source(build_objective(tiny.load_config(f"data.path={path}")))


def evaluate_online(path: str) -> None:
  given = ("evaluation.every=1", f"evaluation.path={path}")
  config = tiny_task.load_config(*given)
  abstract = mock.Mock(spec=TrainState)
  build_objective(config).measurement(make_mesh(config.mesh), abstract)


def probe_online(path: str) -> None:
  given = ("probes.every=1", f"probes.path={path}")
  online.load(tiny.load_config(*given))


def probe(path: str) -> None:
  given = (f"data.train={path}", f"data.test={path}")
  config = labelled.load_config("task=retrieval", *given)
  probing.run(config, labelled.make_backbone(0), path)


@pytest.mark.parametrize(
  ("measure", "field"),
  [
    (train, "data.path"),
    (evaluate_online, "evaluation.path"),
    (probe_online, "probes.path"),
    (probe, "data.test"),
  ],
)
def test_other_images_on_another_host_are_named(
  path, monkeypatch, measure, field
):
  other = {"records": 3, "hash": "of others"}
  monkeypatch.setattr(gathering, "gather", lambda mine: [mine, mine, other])
  with pytest.raises(ValueError) as told:
    measure(path)
  assert str(told.value) == (
    f"{field}={path}: process 2 read other images there than process 0; "
    "expected the same on all hosts."
  )


def test_the_same_everywhere_is_nothing_to_tell():
  gathering.check_same("a", "--checkpoint=w", "weights")

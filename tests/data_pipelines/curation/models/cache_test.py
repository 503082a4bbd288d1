"""The table of models and the folder that holds them."""

import dataclasses
import hashlib
import re
import zipfile

import pytest

from data_pipelines.curation.models import __main__ as fetching
from data_pipelines.curation.models import cache, catalog

PACKAGE = catalog.Package("pypi", "box==1.0", "CC0")
DATA = b"a model"
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def models(monkeypatch):
  """A table of a plain model and a converted one."""
  turned = hashlib.sha256(DATA[::-1]).hexdigest()
  members = {"box/model.bin": SUM}
  made = {
    "plain": catalog.Model("plain.bin", PACKAGE, members, SUM),
    "turned": catalog.Model(
      "turned.bin",
      PACKAGE,
      members,
      turned,
      convert=lambda members: members["box/model.bin"][::-1],
    ),
  }
  monkeypatch.setattr(catalog, "MODELS", made)
  monkeypatch.setattr(catalog, "SCORERS", {"one": ("plain",)})
  return made


def fetch_with(data, calls=None):
  def fetch(package, directory):
    if calls is not None:
      calls.append(package.requirement)
    path = directory / "box-1.0.zip"
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("box/model.bin", data)
    return path

  return fetch


def test_every_model_has_sums_a_licence_and_a_scorer():
  used = {name for names in catalog.SCORERS.values() for name in names}
  assert used == {*catalog.MODELS}
  for model in catalog.MODELS.values():
    for text in (model.sha256, *model.members.values()):
      assert re.fullmatch("[0-9a-f]{64}", text)
    assert "AGPL" not in model.package.licence
    assert model.package.licence
  files = [model.file for model in catalog.MODELS.values()]
  assert len({*files}) == len(files)


def test_the_origin_that_nobody_licensed_is_said():
  licence = catalog.MODELS["centernet"].package.licence
  assert "does not state" in licence


def test_a_package_is_fetched_once_for_all_its_models(models, tmp_path):
  calls = []
  for _ in range(2):
    paths = cache.fetch_models(
      models, tmp_path / "m", fetch=fetch_with(DATA, calls)
    )
  assert calls == ["box==1.0"]
  assert [path.read_bytes() for path in paths] == [DATA, DATA[::-1]]
  assert {p.name for p in (tmp_path / "m").iterdir()} == {
    "plain.bin",
    "turned.bin",
  }


def test_a_wrong_sum_in_the_package_leaves_nothing(models, tmp_path):
  with pytest.raises(ValueError, match=rf"model.bin: SHA-256 .* {SUM}"):
    cache.fetch_models(["plain"], tmp_path, fetch=fetch_with(b"other"))
  assert not list(tmp_path.iterdir())


def test_a_wrong_sum_of_the_converted_file_leaves_nothing(models, tmp_path):
  models["turned"] = dataclasses.replace(models["turned"], sha256=SUM)
  with pytest.raises(ValueError, match="turned.bin, converted: SHA-256"):
    cache.fetch_models(["turned"], tmp_path, fetch=fetch_with(DATA))
  assert not list(tmp_path.iterdir())


def test_a_package_that_cannot_be_had_is_named(models, tmp_path):
  def fetch(package, directory):
    raise RuntimeError("no such version")

  with pytest.raises(ValueError, match="box==1.0 .*: no such version"):
    cache.fetch_models(["plain"], tmp_path, fetch=fetch)


def test_a_missing_model_names_the_command(models, tmp_path):
  expected = f"{cache.COMMAND} --models {tmp_path}"
  with pytest.raises(ValueError, match=expected):
    cache.find_model("plain", tmp_path)


def test_a_model_that_was_changed_is_an_error(models, tmp_path):
  (path,) = cache.fetch_models(["plain"], tmp_path, fetch=fetch_with(DATA))
  path.write_bytes(b"changed")
  with pytest.raises(ValueError, match="plain.bin: SHA-256 is"):
    cache.find_model("plain", tmp_path)


def test_only_what_a_scorer_opens_is_named(models):
  assert cache.names_of(["one"]) == ["plain"]
  assert cache.names_of() == ["plain", "turned"]
  with pytest.raises(ValueError, match="two: no such scorer"):
    cache.names_of(["two"])


def test_the_command_prints_licences(models, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(cache, "fetch_archive", fetch_with(DATA))
  assert fetching.main(["--models", str(tmp_path), "--only", "one"]) == 0
  assert "box==1.0: CC0" in capsys.readouterr().out
  assert fetching.main(["--models", str(tmp_path), "--only", "x"]) == 2

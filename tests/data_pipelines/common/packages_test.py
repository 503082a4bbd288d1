import pytest

from data_pipelines.common import packages


def test_an_unreadable_archive_is_an_error_that_names_it(tmp_path):
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(b"neither")
  with pytest.raises(RuntimeError, match="a.tar.gz"):
    packages.extract_member(archive, "x")


def test_pip_says_in_one_line_why_it_failed(tmp_path):
  with pytest.raises(RuntimeError) as caught:
    packages.fetch_package("not a requirement==1", tmp_path)
  assert "\n" not in str(caught.value) and str(caught.value)


def test_npm_that_is_not_there_is_said(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(RuntimeError, match="npm is not installed"):
    packages.fetch_npm_package("left-pad@1.3.0", tmp_path)

import os

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


@pytest.fixture
def write_program(tmp_path, monkeypatch):
  """write(name, line) -> path of a shell script that is found by its name."""
  folder = tmp_path / "programs"
  folder.mkdir()
  monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

  def write(name: str, line: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)

  return write


def test_a_source_archive_lies_beside_what_was_built_of_it(
  tmp_path, monkeypatch, write_program
):
  line = """echo "'http://mirror/pool/d/$3_1+b_all.deb' $3.deb 1 SHA256:0" """
  write_program("apt-get", line)
  helper = write_program("apt-helper", 'echo "$1 $2" > "$3"')
  monkeypatch.setattr(packages, "_APT_HELPER", helper)
  target = tmp_path / "target"
  target.mkdir()
  found = packages.fetch_debian_source("lib", "a_1+b.tar", target)
  assert found == target / "a_1+b.tar"
  said = "download-file http://mirror/pool/d/a_1%2Bb.tar\n"
  assert found.read_text() == said


def test_apt_says_in_one_line_why_it_failed(tmp_path, write_program):
  write_program(
    "apt-get", "echo first >&2; echo E: no such package >&2; exit 1"
  )
  with pytest.raises(RuntimeError, match="^E: no such package$"):
    packages.fetch_debian_source("lib", "a.tar", tmp_path)


def test_apt_that_is_not_there_is_said(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(RuntimeError, match="apt is not installed"):
    packages.fetch_debian_source("lib", "a.tar", tmp_path)

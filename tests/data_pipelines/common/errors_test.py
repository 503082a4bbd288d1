"""Which errors are the user's, and which are of disks and others."""

import errno
import socket

import pytest

from data_pipelines.common import command, errors, files, remote, storage


def raised(error: Exception, cause: Exception | None = None) -> Exception:
  try:
    raise error from cause
  except Exception as found:
    return found


@pytest.mark.parametrize(
  ("error", "code"),
  [
    (ValueError("a field"), 2),
    (FileNotFoundError("gs://b/none"), 2),
    (OSError(errno.ENOENT, "No such file", "x"), 2),
    (OSError(errno.EACCES, "Permission denied", "x"), 2),
    (OSError(errno.EISDIR, "Is a directory", "x"), 2),
    (raised(ValueError("x"), KeyError("y")), 2),
    (OSError(errno.ENOSPC, "No space left on device"), 1),
    (OSError(errno.EIO, "Input/output error"), 1),
    (OSError(errno.ESTALE, "Stale file handle"), 1),
    (OSError(errno.EROFS, "Read-only file system"), 1),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), 1),
    (OSError("503, try later"), 1),
    (ConnectionResetError("by peer"), 1),
    (TimeoutError("timed out"), 1),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in resolution"), 1),
    (raised(ValueError("data.path=x: bad"), OSError(errno.EIO, "I/O")), 1),
    (RuntimeError("x"), 1),
    (MemoryError("x"), 3),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 3),
    (raised(OSError("a.jpg"), MemoryError("x")), 3),
  ],
)
def test_only_what_the_user_wrote_is_a_mistake(error, code, capsys):
  assert errors.exit_code(error) == code

  def work():
    raise error

  found = command.run("name", work, explained=(RuntimeError,))
  assert found == code
  assert capsys.readouterr().err.startswith("name: ")


def test_a_disk_that_fails_is_named_with_its_file(tmp_path, monkeypatch):
  path = tmp_path / "metrics.json"

  def fill(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(files.os, "fsync", fill)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
      files.write_json(path, {})
  assert not list(tmp_path.iterdir())
  with pytest.raises(OSError, match=f"Is a directory: '{tmp_path}'"):
    storage.read_bytes(tmp_path)


def test_a_package_that_is_missing_is_a_mistake(monkeypatch):
  def fail(url):
    raise ImportError("Please install gcsfs to access Google Storage")

  monkeypatch.setattr(remote.fsspec.core, "url_to_fs", fail)
  with pytest.raises(
    ValueError, match=r"gs://b/x: Please install.*sapiens2-jax\[gcs\]"
  ) as caught:
    storage.read_bytes("gs://b/x")
  assert errors.exit_code(caught.value) == 2


def test_a_bucket_that_fails_is_named_and_no_mistake(monkeypatch):
  def fail(url):
    raise RuntimeError("Failed to resolve storage.googleapis.com")

  monkeypatch.setattr(remote.fsspec.core, "url_to_fs", fail)
  with pytest.raises(
    OSError, match="gs://b/x: RuntimeError: Failed to resolve"
  ) as caught:
    storage.read_bytes("gs://b/x")
  assert errors.exit_code(caught.value) == 1

"""The packages that speak to buckets: where they are, what they raise."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import fsspec

from data_pipelines.common import errors

# Without an answer for so long a request is made anew, up to five times.
STALL_SECONDS = 60.0
_CREDENTIALS = (
  "these credentials may not use it; give the service account of the machine "
  "that right, or run `gcloud auth application-default login`"
)


def resolve(url: str | os.PathLike) -> tuple[fsspec.AbstractFileSystem, str]:
  """What serves a URL, and its name there.

  Raises:
    ValueError: an unknown scheme, or its package is not installed.
  """
  name = os.fspath(url)
  try:
    if name.startswith(("gs://", "gcs://")):
      _configure_gcsfs()
    with as_os_error(url, but=(ImportError, ValueError)):
      return fsspec.core.url_to_fs(name)
  except ImportError as error:
    extra = " (pip install 'sapiens2-jax[gcs]')" * name.startswith("gs://")
    raise ValueError(f"{url}: {error}{extra}") from error
  except ValueError as error:  # no such scheme
    raise ValueError(f"{url}: {error}") from error


def _configure_gcsfs() -> None:
  """For whoever opens gs:// in this process, Orbax too."""
  import aiohttp  # With gcsfs.

  own = {
    # TensorStore and other processes write there, too.
    "use_listings_cache": False,
    "requests_timeout": aiohttp.ClientTimeout(
      total=None, sock_connect=STALL_SECONDS, sock_read=STALL_SECONDS
    ),
  }
  known = fsspec.config.conf
  for scheme in ("gs", "gcs"):
    if not known.get(scheme, {}).keys() >= own.keys():
      known[scheme] = own | known.get(scheme, {})
  # It prints stacks of errors that it raises as well.
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def at(
  url: str | os.PathLike,
) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
  """What `resolve` gives; errors of the block become what `as_os_error` says.

  Raises:
    ValueError: see `resolve`.
  """
  found = resolve(url)
  with as_os_error(url):
    yield found


@contextlib.contextmanager
def as_os_error(
  url: str | os.PathLike, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
  """Turns the errors that each scheme's package has of its own to OSError.

  Those of `but` stay as they are; the others name the URL.
  """
  try:
    with errors.naming(url):
      yield
  except (MemoryError, *but):
    raise
  except OSError as error:
    if str(error).startswith("Forbidden"):
      raise _denied(url, error) from error
    if error.errno is None and os.fspath(url) not in str(error):
      error.args = (f"{url}: {error}",)
    raise
  except Exception as error:
    is_unknown = type(error).__name__ == "DefaultCredentialsError"
    if is_unknown or getattr(error, "code", None) in (401, 403):
      raise _denied(url, error) from error
    raise OSError(f"{url}: {type(error).__name__}: {error}") from error


def guarded(
  path: str | os.PathLike, but: tuple[type[Exception], ...] = ()
) -> contextlib.AbstractContextManager:
  """`as_os_error` of a URL; of a path on a disk errors stay as they are."""
  if "://" in os.fspath(path):
    return as_os_error(path, but)
  return contextlib.nullcontext()


def _denied(url: str | os.PathLike, error: Exception) -> PermissionError:
  said = " ".join(str(error).split())[:200]
  return PermissionError(f"{url}: {_CREDENTIALS} ({said})")

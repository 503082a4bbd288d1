"""The body model's files; tests of it are skipped where they cannot be had."""

import pytest

from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import assets, body


@pytest.fixture(scope="session")
def files():
  try:
    return assets.find_assets()
  except ValueError as error:
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def anatomy(files):
  return anatomies.load_anatomy(files)


@pytest.fixture(scope="session")
def model(files):
  return body.BodyModel(files.directory)

"""A checkpoint of ours says of images what its encoder does."""

import pickle

import cv2
import jax
import numpy as np
import pytest

from sapiens2_jax import embedding
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.models import pixels
from tests.data_pipelines.curation import made
from tests.interop import samples

SIZE = (64, 48)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
  return samples.write(path, samples.arrays(samples.TOY))


def test_vectors_are_the_cls_of_load_pretrained(weights):
  scorer = embedding.CheckpointScorer(weights, SIZE)
  scorer = pickle.loads(pickle.dumps(scorer))
  scorer.load()
  images = [np.asarray(made.picture(seed, 128, 96)) for seed in (1, 2)]
  found = [answer["vector"] for answer in scorer.score(images, [{}, {}])]
  # Whatever comes with it, an image has the same vector to the last bit.
  assert scorer.score(images[1:], [{}])[0]["vector"] == found[1]
  encoder, params = load_pretrained(weights)
  small = [
    cv2.resize(x, (48, 64), interpolation=cv2.INTER_AREA) for x in images
  ]
  with jax.default_matmul_precision("float32"):
    out = encoder.apply({"params": params}, pixels.from_uint8(np.stack(small)))
  np.testing.assert_allclose(found, out.cls, atol=1e-4)
  assert np.abs(np.subtract(*found)).max() > 1e-3


def test_fingerprints_are_of_weights_and_size(weights, tmp_path):
  first = embedding.CheckpointScorer(weights, SIZE).fingerprint()
  assert embedding.CheckpointScorer(weights, SIZE).fingerprint() == first
  assert embedding.CheckpointScorer(weights, (48, 64)).fingerprint() != first
  other = samples.write(
    tmp_path / "other.safetensors", samples.arrays(samples.TOY)
  )
  assert embedding.CheckpointScorer(other, SIZE).fingerprint() != first


def test_weights_that_are_none_are_named_at_once(tmp_path):
  with pytest.raises(ValueError, match="nothing"):
    embedding.CheckpointScorer(tmp_path / "nothing", SIZE)

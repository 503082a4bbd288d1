"""People: drawn, shaped, posed, clothed, as triangles."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import (
  assets,
  clips,
  contact,
  hair,
  keypoints,
  pieces,
  poses,
  shape,
  skeleton,
  wardrobe,
)
from data_pipelines.synthetic import regions as body_regions
from data_pipelines.synthetic.mesh import PersonMesh

_BINDING = 0.3  # Skirts longer than this, down the leg, hold it back.
_PLAIN = {
  "left_eye": ("eye", "Face_Neck"),
  "right_eye": ("eye", "Face_Neck"),
  "upper_teeth": ("teeth", "Upper_Teeth"),
  "lower_teeth": ("teeth", "Lower_Teeth"),
  "tongue": ("tongue", "Tongue"),
}


class BodyModel:
  """Draws people; reads its files once, then about 7 ms a person."""

  def __init__(self, directory: str | os.PathLike | None = None):
    """Reads the files; arguments and errors as of `assets.find_assets`."""
    files = assets.find_assets(directory)
    self.anatomy = anatomies.load_anatomy(files)
    self.regions = body_regions.find_regions(self.anatomy)
    self._clips = clips.read_clips(files.motions)
    self._changes = shape.find_local_changes(self.anatomy)
    self._wardrobe = wardrobe.Wardrobe(self.anatomy, self.regions)
    self._barber = hair.Barber(self.anatomy, self.regions)
    triangles = self.anatomy.triangles
    points = self.anatomy.vertices
    # What is pushed out along its normals; of the body only the head's hair.
    is_head = (points[triangles["body"]][..., 1] > 0.6).any(1)
    self._solid = np.concatenate(
      [triangles[name] for name in ("tights", "skirt", "hair")]
      + [triangles["body"][is_head]]
    )
    trunk = np.unique(triangles["tights"])
    is_trunk = (self.regions.arm[trunk] < 0.05) & (points[trunk, 1] < 0.4)
    self._trunk = trunk[is_trunk & (points[trunk, 1] > 0.1)]
    self._bare = self._make_bare()

  def sample_person(self, rng: np.random.Generator) -> PersonMesh:
    """Draws a person; the same one for the same state of `rng`."""
    traits = shape.draw_traits(rng)
    at_rest = shape.make_shape(
      self.anatomy,
      {
        **shape.mix_targets(traits),
        **shape.draw_local_changes(rng, self._changes),
        **shape.draw_face(rng),
      },
    )
    outfit = wardrobe.draw_outfit(rng, is_female=traits.is_female)
    haircut = hair.draw_haircut(rng, is_female=traits.is_female, age=traits.age)
    pose = poses.draw_pose(rng, self._clips)
    if outfit.skirt > _BINDING:
      pose = poses.keep_knees_together(pose)
    blended = self._pose(pose, at_rest)
    clothes, hidden = self._wardrobe.make(outfit, rng)
    worn = clothes + self._barber.make(
      haircut, rng, clearance=0.025 + outfit.looseness
    )
    self._barber.lay(blended)
    self._barber.sew(blended)
    self._barber.sew(at_rest)
    outward = pieces.find_normals(at_rest, self._solid)
    self._barber.sew(outward)
    made = pieces.assemble(
      [self._show_skin(hidden), *self._bare[1:], *worn],
      shape=at_rest,
      outward=outward,
      uv=self.anatomy.uv,
      blended=blended,
    )
    posed = skeleton.carry_all(at_rest, blended)
    lowest = made.vertices[:, 1].min()
    made.vertices[:, 1] -= lowest
    posed[:, 1] -= lowest
    return PersonMesh(
      **vars(made),
      keypoints=keypoints.keypoint_positions(posed),
      keypoint_radius=keypoints.KEYPOINT_RADIUS,
      traits={k: float(v) for k, v in dataclasses.asdict(traits).items()},
    )

  def _pose(self, pose: poses.Pose, at_rest: np.ndarray) -> np.ndarray:
    """(v, 3, 4) transforms of the vertices, from rest to the pose."""
    anatomy = self.anatomy
    joints = skeleton.find_joints(
      at_rest, anatomy.head_starts, anatomy.head_vertices
    )
    trunk = at_rest[self._trunk]
    width, _, depth = np.ptp(trunk, axis=0) * 0.48
    _, rotations = contact.resolve(pose, joints, width, depth)
    return skeleton.blend_transforms(
      rotations,
      joints,
      skeleton.place_joints(rotations, joints, skeleton.PARENTS),
      anatomy.weight_starts,
      anatomy.weight_bones,
      anatomy.weights,
    )

  def _make_bare(self) -> list[pieces.Piece]:
    """Skin, lips, eyes, teeth and tongue, before anything is hidden."""
    triangles = self.anatomy.triangles
    skin = triangles["body"]
    lip = self.regions.lip[skin].sum(1)
    part = np.median(self.regions.skin[skin], axis=1)
    parts = body_regions.PARTS
    made = [
      pieces.whole(skin[lip == 0], "skin", part[lip == 0].astype(np.uint8))
    ]
    for sign, name in ((-1, "Lower_Lip"), (1, "Upper_Lip")):
      made.append(pieces.whole(skin[sign * lip > 0], "lips", parts[name]))
    for group, (surface, name) in _PLAIN.items():
      made.append(pieces.whole(triangles[group], surface, parts[name]))
    return made

  def _show_skin(self, hidden: np.ndarray) -> pieces.Piece:
    """The skin without what is deep under cloth."""
    skin = self._bare[0]
    corners = skin.corners[:, 0].take(skin.triangles)
    a, b, c = hidden.take(corners.T)
    shown = np.flatnonzero(~(a & b & c))
    return pieces.whole(
      corners.take(shown, axis=0), "skin", skin.parts.take(shown)
    )

"""How far joints go: lowest, usual and highest angle of each, in degrees.

Ranges are those of clinical goniometry, rounded inwards; ours.
"""

from __future__ import annotations

import numpy as np

from data_pipelines.synthetic import skeleton

_TRUNK = {
  "chest_flex": (-20, 5, 60),
  "chest_bend": (-25, 0, 25),
  "chest_twist": (-40, 0, 40),
  "neck_flex": (-35, 5, 40),
  "neck_bend": (-30, 0, 30),
  "neck_twist": (-60, 0, 60),
}
_LIMB = {
  "shoulder_flex": (-45, 15, 165),
  "shoulder_abduct": (-25, 15, 150),
  "shoulder_twist": (-80, 10, 70),
  "elbow_flex": (0, 25, 145),
  "forearm_twist": (-80, 10, 75),
  "wrist_flex": (-55, 5, 60),
  "wrist_abduct": (-25, 0, 15),
  "hip_flex": (-20, 5, 115),
  "hip_abduct": (-20, 5, 45),
  "hip_twist": (-40, -5, 35),
  "knee_flex": (0, 8, 140),
  "ankle_flex": (-40, 0, 25),
  "ankle_abduct": (-15, 0, 15),
  "thumb_base": (-10, 5, 35),
  "thumb_spread": (-15, 0, 20),
  "thumb_middle": (0, 15, 50),
  "thumb_tip": (-5, 15, 65),
  **{
    f"{finger}_{joint}": angles
    for finger in skeleton.FINGERS[1:]
    for joint, angles in {
      "base": (-12, 18, 88),
      "spread": (-12, 0, 12),
      "middle": (0, 22, 100),
      "tip": (0, 12, 65),
    }.items()
  },
}
_OF_BOTH = {f"{side}_{n}": _LIMB[n] for side in skeleton.SIDES for n in _LIMB}
_RANGES = np.array([(_TRUNK | _OF_BOTH)[n] for n in skeleton.ANGLES], float)
LOWEST, USUAL, HIGHEST = _RANGES.T
_SWINGS = [
  [skeleton.PLACE[f"{side}_shoulder_{part}"] for part in ("flex", "abduct")]
  for side in skeleton.SIDES
]
_FARTHEST_SWING = 165.0


def keep_within(angles: np.ndarray) -> np.ndarray:
  """Brings (..., len(ANGLES)) angles within the limits."""
  kept = np.clip(angles, LOWEST, HIGHEST)
  for pair in _SWINGS:
    length = np.linalg.norm(kept[..., pair], axis=-1, keepdims=True)
    kept[..., pair] *= np.minimum(1, _FARTHEST_SWING / np.maximum(length, 1e-9))
  return kept

"""From where on something counts as odd, in one place; what is expected of each structure is in `expectations.py`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Defaults were set so that the clinical and research drawings of the tests pass unremarked.

    * `outside_refused`: share (0 to 1) of a structure's pixels outside the body from which it is surely misplaced;
      `outside_warned`: share over the series from which someone should look. A contour that strays beyond the skin
      by a finger's breadth stays far below both.
    * `outside_pixels`: pixels from which place is judged at all; a few at the skin say nothing.
    * `tissue_pixels`: pixels from which a median of HU is taken: fewer are mostly partial volume.
    * `side_mm`: how far, in mm, left and right must be exchanged to be sure; vessels and glands at the midline lie
      closer than that to each other.
    * `middle_mm`: the same against the middle of the body's outline, which an arm or a shift of the bed moves.
    * `island_share`, `island_mm`: parts below that share of the largest one, whose centre is further than that from
      every larger part, count as slipped. Parts of a healthy organ that a slab cuts in two are larger or nearer.
    * `kidney_mm`: kidneys exchanged by less may be a crossed ectopia: a warning;
    * `parts`: pieces of a structure on one slice beyond which it is speckle, and islands are not measured one by one;
    * `regular_share`: share of the steps between annotated slices that have to be the usual one for the annotation to
      count as regular (every slice, every third …); otherwise only annotated slices can be missing.
    """

    outside_refused: float = 0.9
    outside_warned: float = 0.3
    outside_pixels: int = 20
    tissue_pixels: int = 50
    side_mm: float = 10.0
    middle_mm: float = 20.0
    kidney_mm: float = 40.0
    parts: int = 200
    island_share: float = 0.05
    island_mm: float = 40.0
    regular_share: float = 0.75

"""A statistical shape model of every body level: what a partial mask leaves open, and whole plausible masks.

Probabilistic principal component analysis (Tipping and Bishop 1999, "Probabilistic Principal Component Analysis") over
smooth level sets, the clipped signed distances of each structure and of air, fat, soft tissue and bone. It holds means
and modes, never a patient's slice. Self-contained on purpose (torch and the standard library only): its text is part of
the model file that travels in the registry. How it is fitted is not here, see `shape_fitting.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SHAPE_PREFIX = "shape_"
"""What the names of the model's tensors begin with in the prior's file."""

DRAWN_RESOLUTION = 64
"""Greatest height and width in pixels at which distances are measured."""

USUAL = 0.5
"""A structure is expected at a level when at least this share of the training slices there show it."""

FAR = 0.5
"""Distance below 0, in pixels of the working grid, at which a level set no longer tells the shape."""

LEAST_PROBABILITY = 1e-3

CHUNK = 16
"""Label maps that are compared with the levels at once."""


def likely_levels(occupancy: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
    """(n,) levels, 0 feet to 1 head, at which label maps (n, h, w) of class indices are likeliest.

    `occupancy` (positions, classes, h, w) holds NaN for a class that nothing is known of: it says nothing. `drawn`
    (n, classes) bool: a class that the mask is not complete for counts where it is drawn, and not where it is missing.
    """
    positions, classes = occupancy.shape[:2]
    known = occupancy.isfinite().all(-1).all(-1).all(0)
    likelihood = torch.zeros(len(labels), positions)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        masks = class_masks(labels[part], classes)
        missing = ((1 - masks) * drawn[part].to(masks.dtype)[:, :, None, None]).flatten(1)
        masks = masks.flatten(1)
        for level in range(positions):  # one after another: all at once take gigabytes at 512²
            probable = occupancy[level].nan_to_num(0.5).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY).float()
            there, absent = probable.log() * known[:, None, None], (1 - probable).log() * known[:, None, None]
            likelihood[part, level] = masks @ there.flatten() + missing @ absent.flatten()
    return likelihood.argmax(1) / (positions - 1)


def class_masks(labels: Tensor, classes: int) -> Tensor:
    """(n, classes, h, w) float32, 0 or 1, of label maps (n, h, w) with labels 0 (background) to `classes`."""
    return functional.one_hot(labels.long(), classes + 1).permute(0, 3, 1, 2)[:, 1:].float()


def level_sets(masks: Tensor, resolution: int, clip: float) -> Tensor:
    """(n, c, resolution, resolution) signed distances of masks (n, c, h, w), positive inside, in pixels of that grid.

    They are clipped to ±`clip`; a structure that is not there is -`clip` everywhere. Distances to the border between
    pixels are exact (separable minimum of squares, Felzenszwalb and Huttenlocher 2012), measured at up to 64² and then
    averaged over the coarser pixels.
    """
    n, count = masks.shape[:2]
    fine = min(masks.shape[-1], DRAWN_RESOLUTION)
    if masks.shape[-1] != fine:
        masks = functional.interpolate(masks.float(), (fine, fine), mode="area")
    inside = (masks > 0.5).flatten(0, 1)
    result = torch.full((n * count, resolution, resolution), -clip)
    present = inside.any(-1).any(-1)
    inside = inside[present]
    if not len(inside):
        return result.reshape(n, count, resolution, resolution)
    per_pixel = fine / resolution
    reach = math.ceil(clip * per_pixel + 0.5)
    outwards, inwards = _distance(inside, reach), _distance(~inside, reach)
    signed = torch.where(inside, inwards - 0.5, 0.5 - outwards) / per_pixel
    averaged = functional.interpolate(signed.clamp(-clip, clip)[:, None], (resolution, resolution), mode="area")
    result[present] = averaged[:, 0]
    return result.reshape(n, count, resolution, resolution)


def _distance(target: Tensor, reach: int) -> Tensor:
    """Distance of every pixel to the nearest one in `target` (m, h, w) bool, or `reach` + 1 where that is nearer."""
    squares = torch.where(target, 0.0, float((reach + 1) ** 2))
    for axis in (1, 2):
        size = target.shape[axis]
        best = squares.clone()
        for step in range(1, min(reach, size - 1) + 1):
            near, far = best.narrow(axis, 0, size - step), best.narrow(axis, step, size - step)
            torch.minimum(near, squares.narrow(axis, step, size - step) + step**2, out=near)
            torch.minimum(far, squares.narrow(axis, 0, size - step) + step**2, out=far)
        squares = best
    return squares.sqrt()


def _lifted(fields: Tensor, likeliest: Tensor, least: Tensor, wanted: Tensor) -> Tensor:
    """Fields (n, c, h, w), those `wanted` (n, c) raised until a share `least` (n, c) of their pixels is above 0. One
    that is nowhere near 0 gives no shape to raise: there the `likeliest` field is taken.
    """
    chosen = wanted.nonzero(as_tuple=True)
    own, usual = fields[chosen], likeliest[chosen]
    missing = _shortfall(own, least[chosen])
    far = (missing > FAR)[:, None, None]
    missing = torch.where(far[:, 0, 0], _shortfall(usual, least[chosen]), missing)
    result = fields.clone()
    result[chosen] = torch.where(far, usual, own) + missing[:, None, None]
    return result


def _shortfall(fields: Tensor, least: Tensor) -> Tensor:
    """(m,) what to add to fields (m, h, w) for a share `least` (m,) of the pixels, two at least, to be above 0."""
    ordered = fields.flatten(1).sort(-1, descending=True).values
    rank = (least * ordered.shape[-1]).ceil().long().clamp(2, ordered.shape[-1]) - 1
    return (LEAST_PROBABILITY - ordered.gather(1, rank[:, None])[:, 0]).clamp(min=0)


@dataclass(frozen=True)
class ShapeModel:
    """Means and modes by level and field; the fields are the classes in their order, then the four tissues.

    * `place` (levels, fields) int32: where a field's mean and modes stand in `mean` and `modes`, -1 for one that is
      nowhere at that level;
    * `mean` (m, r, r) and `modes` (m, k, r, r) float16, in pixels of the working grid r × r; modes of unit variance;
    * `residual` (levels, fields) float32: variance of a field that the modes leave open, in pixels²;
    * `offset` (levels, fields) float32: added to a level set before it is read, so that samples have the area that
      training patients have: where a small structure lies now here, now there, the mean alone would lose it;
    * `present` (levels, classes, 2) float32: share of training slices that show a structure, and the share of the
      frame that it covers where it is small but there;
    * `tissue_of` (levels, classes, tissues) float32: probabilities of the tissues within a structure;
    * `known` (classes,) uint8: 0 for a class that nothing is known of;
    * `settings` (2,) float32: the clip in pixels, and how many pixels of a field tell as much as one independent one.
    """

    place: Tensor
    mean: Tensor
    modes: Tensor
    residual: Tensor
    offset: Tensor
    present: Tensor
    tissue_of: Tensor
    known: Tensor
    settings: Tensor

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ShapeModel":
        """The model among the tensors of a prior's file. Raises KeyError when one is missing."""
        return cls(**{name: tensors[SHAPE_PREFIX + name] for name in cls.__dataclass_fields__})

    def to_tensors(self) -> dict[str, Tensor]:
        """The inverse of `from_tensors`."""
        return {SHAPE_PREFIX + name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.known)

    @property
    def latents(self) -> int:
        """Number k of latent variables: what `noise` has in its second dimension."""
        return self.modes.shape[1]

    @torch.inference_mode()
    def propose_context(self, labels: Tensor, drawn: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """(n, tissues, h, w) float32 one-hot: a plausible tissue at each pixel of label maps (n, h, w).

        `drawn` (n, classes) bool says what each mask is complete for, `levels` (n,) where it lies, `noise` (n, k) is
        standard normal (zeros: the likeliest). Within a structure the tissue is what training patients have there.
        """
        masks = class_masks(labels, self.classes)
        tissues = self._fields(masks, drawn, levels, noise)[:, self.classes :]
        size = (labels.shape[1], labels.shape[2])
        score = functional.interpolate(tissues, size, mode="bilinear")
        table = self.tissue_of[self._nearest(levels)].clamp(min=LEAST_PROBABILITY).log()
        table = torch.cat([torch.zeros(len(labels), 1, table.shape[2]), table], 1)
        within = table[torch.arange(len(labels))[:, None, None], labels.long()].permute(0, 3, 1, 2)
        choice = (score + within).argmax(1)
        return functional.one_hot(choice, tissues.shape[1]).permute(0, 3, 1, 2).float()

    @torch.inference_mode()
    def complete(
        self, labels: Tensor, drawn: Tensor, levels: Tensor, noise: Tensor, wanted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What label maps (n, h, w) leave open: occupancy (n, classes, h, w) in 0 … 1, and label maps (n, h, w) int64.

        The occupancy of a class that is drawn is its mask; of another it is the probability under the posterior, and
        0 where another structure is drawn or the class is unknown. The label maps have the drawn structures and a
        plausible shape of the others by `noise` (n, k), as in `propose_context`. Structures that are `wanted`
        (n, classes) bool get at least the area that they have where they are small; without it, those that most
        training slices of the level show.
        """
        masks = class_masks(labels, self.classes)
        size = (labels.shape[1], labels.shape[2])
        open_classes = ~drawn & self.known.bool()
        mean, variance = self._posterior(masks, drawn, levels)
        free = (labels == 0)[:, None]
        probability = torch.special.ndtr(mean / variance.sqrt())[:, : self.classes] * open_classes[:, :, None, None]
        occupancy = torch.maximum(functional.interpolate(probability, size, mode="bilinear") * free, masks)
        usual = self.present[self._nearest(levels)]
        wanted = usual[..., 0] >= USUAL if wanted is None else wanted
        somewhere = self.place[self._nearest(levels)][:, : self.classes] >= 0
        wanted = wanted & open_classes & somewhere
        grid = (min(size[0], DRAWN_RESOLUTION), min(size[1], DRAWN_RESOLUTION))
        fields, likeliest = (
            functional.interpolate(each[:, : self.classes], grid, mode="bilinear")
            for each in (self._fields(masks, drawn, levels, noise), mean)
        )
        fields = _lifted(fields, likeliest, usual[..., 1], wanted)
        fields = functional.interpolate(fields, size, mode="bilinear") if grid != size else fields
        field, choice = fields.masked_fill(~open_classes[:, :, None, None], -math.inf).max(1)
        completed = torch.where((labels == 0) & (field > 0), choice + 1, labels.long())
        for row, index in wanted.nonzero().tolist():
            if not (completed[row] == index + 1).any():  # another structure covers all of it
                completed[row] = torch.where((labels[row] == 0) & (fields[row, index] > 0), index + 1, completed[row])
        return occupancy, completed

    @torch.inference_mode()
    def sample_masks(self, levels: Tensor, noise: Tensor, size: int, wanted: Tensor | None = None) -> Tensor:
        """(n, size, size) int64 label maps of class indices for (n,) levels and (n, k) standard normal `noise`.
        `wanted`: see `complete`.
        """
        nothing = torch.zeros((len(levels), size, size), dtype=torch.int64)
        undrawn = torch.zeros((len(levels), self.classes), dtype=torch.bool)
        return self.complete(nothing, undrawn, levels, noise, wanted)[1]

    def _nearest(self, levels: Tensor) -> Tensor:
        return (levels.clamp(0, 1) * (len(self.place) - 1)).round().long()

    def _fields(self, masks: Tensor, drawn: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """(n, fields, r, r): level sets at the posterior mean of the latent variables, `noise` spreads away from it."""
        if noise.shape != (len(levels), self.latents):
            raise ValueError(f"noise is ({len(levels)}, {self.latents}), not {tuple(noise.shape)}")
        result = self._nothing(len(levels))
        offset = self.offset[self._nearest(levels)][:, :, None, None]
        for rows, stored, mean, modes, centre, factor in self._by_level(masks, drawn, levels):
            spread = torch.linalg.solve_triangular(factor.mT, noise[rows, :, None].float(), upper=True)[..., 0]
            latent = centre + spread
            result[rows[:, None], stored] = mean + torch.einsum("nk,ckhw->nchw", latent, modes)
        return result + offset

    def _posterior(self, masks: Tensor, drawn: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, fields, r, r) twice: mean and variance of the level sets given what is drawn."""
        result = self._nothing(len(levels))
        variance = torch.full_like(result, LEAST_PROBABILITY)
        for rows, stored, mean, modes, centre, factor in self._by_level(masks, drawn, levels):
            result[rows[:, None], stored] = mean + torch.einsum("nk,ckhw->nchw", centre, modes)
            flat = modes.transpose(0, 1).flatten(1)
            half = torch.linalg.solve_triangular(factor, flat.expand(len(rows), *flat.shape), upper=False)
            open_part = half.square().sum(1).reshape(len(rows), *mean.shape)
            left = self.residual[self._nearest(levels[rows])][:, stored, None, None]
            variance[rows[:, None], stored] = open_part + left + LEAST_PROBABILITY
        return result, variance

    def _nothing(self, count: int) -> Tensor:
        resolution = self.mean.shape[-1]
        return torch.full((count, self.place.shape[1], resolution, resolution), -float(self.settings[0]))

    def _by_level(self, masks: Tensor, drawn: Tensor, levels: Tensor):
        """For each level in the batch: rows, stored fields, their mean and modes, posterior mean of the latent
        variables (n, k), and the Cholesky factor of their posterior precision (n, k, k), eq. 12 of the paper with a
        noise of its own for each field.
        """
        clip, shared = self.settings.tolist()
        nearest = self._nearest(levels)
        seen = drawn & self.known.bool()
        observed = level_sets(masks * seen[:, :, None, None], self.mean.shape[-1], clip)
        for level in nearest.unique().tolist():
            rows = (nearest == level).nonzero()[:, 0]
            stored = (self.place[level] >= 0).nonzero()[:, 0]
            where = self.place[level, stored].long()
            mean, modes = self.mean[where].float(), self.modes[where].float()
            told = stored < self.classes
            weight = seen[rows][:, stored[told]] / ((self.residual[level, stored[told]] + LEAST_PROBABILITY) * shared)
            own = modes[told].flatten(2)
            difference = (observed[rows][:, stored[told]] - mean[told]).flatten(2)
            precision = torch.eye(self.latents) + torch.einsum("nc,ckl->nkl", weight, own @ own.mT)
            towards = torch.einsum("nc,cnk->nk", weight, torch.einsum("ncp,ckp->cnk", difference, own))
            factor = torch.linalg.cholesky(precision)
            yield rows, stored, mean, modes, torch.cholesky_solve(towards[..., None], factor)[..., 0], factor

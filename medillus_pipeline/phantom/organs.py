"""The organs of chest and abdomen, painted in the order in which later ones displace earlier ones.

Positions are those of a reference person (x to the left, y to the back, z to the head, mm), scaled by the build.
Tissue values are HU in the portal venous phase unless said otherwise.
"""

from collections.abc import Callable

import numpy as np

from medillus_pipeline.phantom.build import Build
from medillus_pipeline.phantom.shapes import (
    FAR_OUTSIDE,
    Box,
    Canvas,
    Field,
    rotation,
    smooth_noise,
    smooth_union,
    smoothstep,
)
from medillus_pipeline.phantom.trunk import FAT, Trunk

Ids = Callable[[str], int]
"""From a key of the vocabulary to its id."""


class Organs:
    """Paints one patient's organs; each method one region."""

    def __init__(self, canvas: Canvas, build: Build, trunk: Trunk, ids: Ids, rng: np.random.Generator) -> None:
        self.canvas, self.build, self.trunk, self.ids, self.rng = canvas, build, trunk, ids, rng

    def paint_chest(self) -> None:
        """Lungs with vessels, the mediastinum between them, heart, oesophagus."""
        canvas, build, rng = self.canvas, self.build, self.rng
        box = canvas.box(build.at(-140, -130, 95), build.at(140, 100, 400))
        x, y, _ = canvas.axes(box)
        above = self.trunk.above_diaphragm[box]
        heart_box, heart = self._heart()
        middle = np.full(above.shape, FAR_OUTSIDE, np.float32)
        spine_x, spine_y, _ = build.at(4, 14, 0)
        column = 1 - np.sqrt(((x - spine_x) / (31 * build.kx)) ** 2 + ((y - spine_y) / (36 * build.ky)) ** 2)
        front_x, front_y, _ = build.at(2, -72, 0)
        front = np.minimum(11 - np.abs(x - front_x - 2), 26 - np.abs(y - front_y - 8))
        middle = smooth_union(smooth_union(middle, 30 * column, 8), np.broadcast_to(front, above.shape), 12)
        middle = smooth_union(middle, canvas.seen_from(box, heart_box, heart + 5), 10)
        middle = middle + 2.5 * canvas.noise(rng, box, 28)
        lungs = np.minimum(np.minimum(self.trunk.depth[box] - 2, above), -middle)
        content = self._lung_tissue(box)
        left = np.broadcast_to(x - spine_x, above.shape)
        for key, half in (("lung_right", -left), ("lung_left", left)):
            canvas.paint(box, np.minimum(lungs, half), content, self.ids(key))
        band = np.minimum(2.2 - np.abs(above + 2.2), self.trunk.depth[box] + 1)
        canvas.paint(box, band, 58)
        self._paint_heart(heart_box, heart)
        oesophagus = [build.at(*p) for p in ((14, -18, 172), (9, -12, 195), (3, -8, 260))]
        tube_box, tube = canvas.tube(rng, oesophagus, (8, 8.5, 8), bumps=0.1)
        canvas.paint(tube_box, tube, 52)
        canvas.paint(tube_box, tube - 5.2, -300 if rng.random() < 0.4 else 35)

    def paint_abdomen(self) -> None:
        """Bowel, stomach, spleen, kidneys, liver with gallbladder, pancreas, great vessels."""
        self._bowel()
        self._pancreas()
        self._kidneys()
        self._spleen()
        self._stomach()
        self._liver()
        self._vessels()

    def _inside(self, box: Box, gap: float = 3.0) -> Field:
        """Distance inside the abdominal cavity, `gap` mm below the diaphragm and off the wall."""
        return np.minimum(self.trunk.depth[box] - gap + 1, -self.trunk.above_diaphragm[box] - gap - 2)

    def _lung_tissue(self, box: Box) -> Field:
        """HU inside the lungs: denser at the back, with vessels that spread from the hila."""
        canvas, build, rng = self.canvas, self.build, self.rng
        _, y, _ = canvas.axes(box)
        tissue = -858 + 0.38 * (y - build.shift_y) + 22 * canvas.noise(rng, box, (14, 7, 7))
        hila = (build.at(-40, -6, 305), build.at(44, -6, 305))
        for cell, width, value in ((0.088, 0.24, 40.0), (0.049, 0.26, 0.0), (0.03, 0.34, -250.0)):
            tubes = self._tubes(box, hila, cell, width)
            tissue = tissue + np.clip(tubes * 1.6, 0, 1) * (value - tissue)
        return tissue.astype(np.float32)

    def _tubes(self, box: Box, roots: tuple[tuple[float, float, float], ...], cell: float, width: float) -> Field:
        """Curved tubes that radiate from the roots: where two noises over direction are both near 0 (0 to 1).

        The lines where two smooth functions of direction vanish run outwards from the root. `cell` is the length over
        which they change, in parts of a unit vector; `width` the sum of both below which a tube is.
        """
        x, y, z = self.canvas.axes(box)
        directions = np.linspace(-1.2, 1.2, 81, dtype=np.float32)
        shells = np.arange(0, 420, 12, dtype=np.float32)
        result = np.zeros(self.canvas.hu[box].shape, np.float32)
        for number, root in enumerate(roots):
            dx, dy, dz = x - root[0], y - root[1], np.minimum(z - root[2], -1) - 8
            distance = np.sqrt(dx * dx + dy * dy + dz * dz)
            s, t = (((offset / distance + 1.2) / 0.03).astype(np.intp) for offset in (dx, dy))
            r = np.minimum(distance / 12, len(shells) - 1).astype(np.intp)
            level = np.float32(0)
            for _ in range(2):
                wave = smooth_noise(self.rng, (shells, directions, directions), (90, cell, cell))
                level = level + wave[r, s, t] ** 2
            thin = width * np.clip(1.25 - distance / 260, 0.35, 1)
            half = 1 if len(roots) == 1 else (dx * (1 if number else -1) > -38)
            result = np.maximum(result, (1 - np.sqrt(level) / thin) * half)
        return result

    def _heart(self) -> tuple[Box, Field]:
        build = self.build
        turn = rotation(about_x=float(self.rng.normal(-12, 4)), about_y=-24, about_z=float(self.rng.normal(-38, 5)))
        box, heart = self.canvas.ellipsoid(
            self.rng, build.at(14, -34, 216), build.radii(44, 62, 46), turn=turn, bumps=0.05
        )
        return box, np.minimum(heart, self.trunk.above_diaphragm[box] - 2.5)

    def _paint_heart(self, box: Box, heart: Field) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        canvas.paint(box, heart + 4, FAT + 15)
        muscle, blood = build.enhanced(45, 108), build.enhanced(40, 158)
        canvas.paint(box, heart, muscle + 4 * canvas.noise(rng, box, 10), self.ids("heart"))
        groove = 2.2 - np.abs(canvas.noise(rng, box, 38) * 16 + 6)
        canvas.paint(box, np.minimum(np.minimum(groove, 9 - heart), heart + 2), -40)
        turn = rotation(about_z=-40, about_x=-14)
        chambers = (
            ((38, -36, 216), (15, 33, 20), 10.0),
            ((4, -54, 208), (15, 36, 22), 5.0),
            ((-18, -22, 226), (20, 22, 26), 4.0),
            ((14, -4, 236), (24, 16, 20), 4.0),
        )
        for centre, radii, wall in chambers:
            part, chamber = canvas.ellipsoid(rng, build.at(*centre), build.radii(*radii), turn=turn, bumps=0.10)
            canvas.paint(part, np.minimum(chamber, canvas.seen_from(part, box, heart - wall)), blood)

    def _liver(self) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        box = canvas.box(build.at(-140, -110, 10), build.at(90, 90, 240))
        total = np.full(canvas.hu[box].shape, FAR_OUTSIDE, np.float32)
        lean = rotation(about_y=float(rng.normal(14, 4)), about_x=float(rng.normal(0, 4)))
        tip = float(rng.normal(0, 8))
        lobes = (
            ((-80, 2, 118 + tip / 2), (66, 80, 98 - tip / 2), lean),
            ((-28, -28, 158), (58, 50, 46), rotation()),
            ((18, -58, 160), (62 + float(rng.normal(0, 7)), 27, 31), rotation(about_z=12, about_y=-12)),
        )
        for centre, radii, turn in lobes:
            part, lobe = canvas.ellipsoid(rng, build.at(*centre), build.radii(*radii), turn=turn, bumps=0.06)
            total = smooth_union(total, canvas.seen_from(box, part, lobe), 12)
        neighbours = (((-58, 52, 62), (36, 34, 64)), ((-14, 22, 110), (26, 34, 200)), ((-6, -28, 96), (44, 34, 40)))
        for centre, radii in neighbours:
            part, dent = canvas.ellipsoid(rng, build.at(*centre), build.radii(*radii), bumps=0.06)
            total = -smooth_union(-total, canvas.seen_from(box, part, dent), 7)
        part, cleft = canvas.ellipsoid(
            rng, build.at(2, -52, 128), build.radii(4, 26, 26), turn=rotation(about_z=24), bumps=0.1
        )
        total = np.minimum(np.minimum(total, -canvas.seen_from(box, part, cleft)), self._inside(box))
        value = build.enhanced(58, 108) + float(rng.normal(0, 5)) + 3.5 * canvas.noise(rng, box, (14, 6, 6))
        veins = self._tubes(box, (build.at(-8, 2, 205),), 0.074, 0.34)
        portal = np.clip(1.5 * veins, 0, 1) * smoothstep(total, 4, 14)
        canvas.paint(box, total, value + portal * (build.enhanced(40, 150) - value), self.ids("liver"))
        part, bladder = canvas.ellipsoid(
            rng, build.at(-44, -44, 92), build.radii(15, 21, 24), turn=rotation(about_x=25, about_z=-20), bumps=0.05
        )
        bladder = np.minimum(bladder, self._inside(part, 6))
        canvas.paint(part, bladder + 1.8, 55)
        canvas.paint(part, bladder, 9, self.ids("gallbladder"))

    def _spleen(self) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        size = float(np.clip(rng.normal(1, 0.1), 0.8, 1.25))
        radii = build.radii(36 * size, 55 * size, 58 * size)
        turn = rotation(about_z=float(rng.normal(24, 6)), about_x=float(rng.normal(-18, 5)))
        box, spleen = canvas.ellipsoid(rng, build.at(94, 34, 138), radii, turn=turn, bumps=0.06)
        for centre, size_of in (((50, -8, 140), (32, 42, 60)), ((58, 48, 76), (32, 30, 58))):
            part, dent = canvas.ellipsoid(rng, build.at(*centre), build.radii(*size_of), bumps=0.06)
            spleen = -smooth_union(-spleen, canvas.seen_from(box, part, dent), 5)
        value = build.enhanced(50, 122) + float(rng.normal(0, 5)) + 3 * canvas.noise(rng, box, (14, 7, 7))
        canvas.paint(box, np.minimum(spleen, self._inside(box)), value, self.ids("spleen"))

    def _stomach(self) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        full = float(rng.uniform(0.85, 1.12))
        path = ((54, 14, 172), (62, 2, 152), (58, -26, 126), (38, -46, 104), (4, -50, 98), (-18, -36, 100))
        points = [build.at(px + float(rng.normal(0, 3)), py, pz + float(rng.normal(0, 3))) for px, py, pz in path]
        sizes = [r * full * build.kx for r in (29, 34, 31, 24, 18, 11)]
        box, stomach = canvas.tube(rng, points, sizes, bumps=0.09)
        stomach = np.minimum(stomach, self._inside(box))
        canvas.paint(box, stomach, build.enhanced(45, 78), self.ids("stomach"))
        lumps = np.clip(canvas.noise(rng, box, 9) - 0.2, 0, 2)
        filling = float(rng.choice([12.0, 25.0, 40.0]))
        canvas.paint(box, stomach - 3.6 - np.abs(canvas.noise(rng, box, 11)) * 1.4, filling + 14 * lumps)
        _, y, _ = canvas.axes(box)
        front = build.at(0, -68, 0)[1]
        surface = front + 70 * build.gas * build.ky
        canvas.paint(box, np.minimum(stomach - 3.2, surface - y), -965)

    def _kidneys(self) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        cortex, medulla = build.enhanced(34, 182), build.enhanced(32, 140)
        for side, key, height in ((1, "kidney_left", 82.0), (-1, "kidney_right", 66.0)):
            scale = float(np.clip(rng.normal(1, 0.06), 0.86, 1.14))
            centre = build.at(side * 63, 44, height + float(rng.normal(0, 5)))
            lean = side * float(rng.normal(-13, 3))
            turn = rotation(about_y=lean, about_x=float(rng.normal(11, 3)), about_z=side * 28)
            radii = build.radii(25 * scale, 30 * scale, 55 * scale)
            box, kidney = canvas.ellipsoid(rng, centre, radii, turn=turn, bumps=0.035, bend=-side * 6.0)
            kidney = np.minimum(kidney, self._inside(box, 2))
            x, y, z = canvas.axes(box)
            inward = np.array([-side * 24.0, -9.0]) * build.kx
            hilum_x, hilum_y = centre[0] + inward[0], centre[1] + inward[1]
            sinus = 1 - np.sqrt(
                ((x - hilum_x) / 21) ** 2 + ((y - hilum_y) / 9) ** 2 + ((z - centre[2]) / (27 * scale)) ** 2
            )
            sinus = 13 * sinus + 2.2 * canvas.noise(rng, box, 10)
            pyramids = np.minimum(kidney - 6.5, 5 * canvas.noise(rng, box, (13, 11, 11)) - 1.5)
            canvas.paint(box, kidney, cortex + 3 * canvas.noise(rng, box, 8), self.ids(key))
            canvas.paint(box, pyramids, medulla)
            canvas.paint(box, np.minimum(sinus, kidney + 4), FAT + 30, 0)
            canvas.paint(box, np.minimum(sinus - 5, kidney + 6), build.enhanced(15, 60))
            adrenal = [build.at(side * 34, 22, height + 52), build.at(side * 44, 34, height + 56)]
            canvas.paint(*canvas.tube(rng, adrenal, (2.6, 2.2), bumps=0.2), build.enhanced(28, 70))
            vein = [(hilum_x, hilum_y, centre[2]), build.at(side * 14, 0, height + 8)]
            canvas.paint(*canvas.tube(rng, vein, (4.5, 5)), build.enhanced(40, 150))

    def _pancreas(self) -> None:
        canvas, build, rng = self.canvas, self.build, self.rng
        path = ((-30, -20, 78), (-24, -24, 96), (0, -34, 106), (26, -24, 112), (50, 4, 120), (72, 18, 130))
        points = [build.at(px, py + float(rng.normal(0, 2)), pz + float(rng.normal(0, 4))) for px, py, pz in path]
        box, gland = canvas.tube(rng, points, (14, 12, 9, 9.5, 9.5, 7), bumps=0.16)
        lobules = np.clip(np.abs(canvas.noise(rng, box, 6)) - 0.9, 0, 1)
        canvas.paint(box, np.minimum(gland, self._inside(box)), build.enhanced(38, 92) - 45 * lobules)

    def _bowel(self) -> None:
        """Small-bowel loops and mesenteric vessels in the middle, the colon around them; none labelled."""
        canvas, build, rng = self.canvas, self.build, self.rng
        box = canvas.box(build.at(-125, -110, -60), build.at(125, 40, 100))
        _, y, _ = canvas.axes(box)
        part, room = canvas.ellipsoid(rng, build.at(6, -42, 20), build.radii(80, 44, 66), bumps=0.16)
        room = np.minimum(self._inside(box, 5), canvas.seen_from(box, part, room))
        loops = canvas.noise(rng, box, (26, 17, 17)) + 0.1
        vessels = 1.7 - np.abs(canvas.noise(rng, box, (24, 9, 9)) * 5) - np.abs(canvas.noise(rng, box, (24, 9, 9)) * 5)
        canvas.paint(box, np.minimum(vessels, self._inside(box, 4)), build.enhanced(35, 105))
        canvas.paint(box, np.minimum(9 * loops - 1.0, room), build.enhanced(40, 88))
        canvas.paint(box, np.minimum(9 * loops - 4.0, room - 3), 24 + 10 * canvas.noise(rng, box, 8))
        canvas.paint(box, np.minimum(np.minimum(9 * loops - 9, room - 4), build.at(0, -48, 0)[1] - y), -880)
        sag = float(rng.uniform(25, 60))
        paths = (
            ((-100, 26, -60), (-102, 22, 0), (-98, 6, 38)),
            ((-98, 6, 38), (-70, -52, 54), (0, -72, sag), (62, -62, 66), (92, -14, 104)),
            ((92, -14, 104), (106, 26, 66), (104, 34, 0), (102, 34, -60)),
        )
        for path, radius in zip(paths, (24.0, 17.0, 16.0), strict=True):
            points = [build.at(px, py + float(rng.normal(0, 3)), pz + float(rng.normal(0, 5))) for px, py, pz in path]
            part, colon = canvas.tube(rng, points, [radius * float(rng.uniform(0.9, 1.12)) for _ in path], bumps=0.14)
            colon = np.minimum(colon, self._inside(part, 3))
            canvas.paint(part, colon + 1, build.enhanced(40, 72))
            mottle = canvas.noise(rng, part, (9, 5, 5))
            gas = canvas.noise(rng, part, (60, 50, 50)) + build.gas - 0.9 - (canvas.axes(part)[1] - points[1][1]) / 16
            stool = np.where(mottle > 0.7, -320.0, 20.0 + 45 * mottle).astype(np.float32)
            canvas.paint(part, colon - 2.2, stool)
            canvas.paint(part, np.minimum(colon - 2.0, 7 * gas), -940)

    def _vessels(self) -> None:
        """Aorta (labelled), inferior vena cava, portal and mesenteric vessels, crura of the diaphragm."""
        canvas, build, rng = self.canvas, self.build, self.rng
        bow = float(rng.normal(0, 3))
        path = ((4, -6, -70), (7 + bow, -6, 20), (10 + bow, -3, 90), (14, 4, 150), (22, 12, 200), (25, 16, 320))
        aorta = [build.at(*p) for p in path]
        radius = float(np.clip(rng.normal(10.8, 0.9), 9, 13)) * build.organ_scale
        crura = [build.at(*p) for p in ((6, -2, 58), (9, -2, 100), (13, 3, 158))]
        canvas.paint(*canvas.tube(rng, crura, (radius + 2, radius + 5, radius + 3), bumps=0.12), 58)
        blood = build.enhanced(42, 156)
        cava = [build.at(*p) for p in ((-24, -4, -70), (-23, -6, 60), (-24, -8, 140), (-22, -16, 186), (-24, -22, 206))]
        flat = float(rng.uniform(9, 11.5)) * build.organ_scale
        canvas.paint(*canvas.tube(rng, cava, (flat, flat, flat + 1, flat + 2, flat + 2), bumps=0.08), blood - 14, 0)
        artery = [build.at(*p) for p in ((8, -16, 98), (6, -32, 88), (4, -38, 40), (0, -40, -40))]
        canvas.paint(*canvas.tube(rng, artery, (4, 4, 3.6, 3)), blood)
        vein = [build.at(*p) for p in ((-6, -42, -20), (-8, -38, 50), (-8, -26, 92), (-34, -16, 128), (-56, -10, 138))]
        canvas.paint(*canvas.tube(rng, vein, (4, 5.5, 7, 7, 4.5)), blood - 2)
        splenic = [build.at(*p) for p in ((-8, -24, 96), (24, -14, 114), (72, 20, 134))]
        canvas.paint(*canvas.tube(rng, splenic, (5, 4.5, 3.5)), blood - 2)
        box, vessel = canvas.tube(rng, aorta, [radius * s for s in (0.9, 0.95, 1.0, 1.05, 1.1, 1.15)], bumps=0.03)
        canvas.paint(box, vessel + 1.4, 60)
        canvas.paint(box, vessel, blood + 3, self.ids("aorta"))
        if rng.random() < 0.5:
            wall = np.minimum(1.6 - np.abs(vessel - 0.4), 2.2 * canvas.noise(rng, box, (14, 9, 9)) - 2.6)
            canvas.paint(box, wall, 480)

"""Surfaces of label stacks: closed, in place, of the right size, and readable as glTF."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume, centred_affine
from medillus_pipeline.illustration.volumes.surface_pictures import draw_surfaces
from medillus_pipeline.illustration.volumes.surfaces import surfaces, write_glb

trimesh = pytest.importorskip("trimesh")

SPACING = (4.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def ball(words: Vocabulary) -> np.ndarray:
    """A liver of 30 mm radius, 20 mm to the patient's left of the middle, and a spleen of 10 mm above it."""
    z, y, x = np.meshgrid(*(np.arange(size) for size in (24, 48, 64)), indexing="ij")
    x, y, z = (x - 31.5) * 2.0, (y - 23.5) * 2.0, (z - 11.5) * 4.0
    labels = np.zeros(x.shape, np.uint8)
    labels[(x - 20) ** 2 + y**2 + z**2 < 30**2] = words.by_key("liver").id
    labels[(x + 30) ** 2 + y**2 + (z - 20) ** 2 < 10**2] = words.by_key("spleen").id
    return labels


def test_a_ball_keeps_its_place_and_its_size(ball: np.ndarray, words: Vocabulary):
    found = {s.structure.key: s for s in surfaces(ball, centred_affine(ball.shape, SPACING), words)}
    assert list(found) == ["spleen", "liver"]
    mesh = trimesh.Trimesh(found["liver"].vertices, found["liver"].faces)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.05)
    np.testing.assert_allclose(mesh.center_mass, [20, 0, 0], atol=1)
    assert np.linalg.norm(mesh.vertices - [20, 0, 0], axis=1).std() < 1


def test_faces_look_outwards_even_where_the_grid_is_mirrored(ball: np.ndarray, words: Vocabulary):
    mirrored = centred_affine(ball.shape, SPACING) @ np.diag([-1.0, 1, 1, 1])
    for surface in surfaces(ball, mirrored, words):
        assert trimesh.Trimesh(surface.vertices, surface.faces, process=False).volume > 0


def test_smoothing_takes_the_stairs_and_no_volume(ball: np.ndarray, words: Vocabulary):
    for surface in surfaces(ball, centred_affine(ball.shape, SPACING), words):
        voxels = np.count_nonzero(ball == surface.structure.id) * np.prod(SPACING)
        assert trimesh.Trimesh(surface.vertices, surface.faces).volume == pytest.approx(voxels, rel=0.08)


def test_a_structure_cut_by_the_edge_is_closed_there(words: Vocabulary):
    labels = np.full((5, 6, 7), words.by_key("liver").id, np.uint8)
    (found,) = surfaces(labels, centred_affine(labels.shape, (1.0, 1.0, 1.0)), words)
    assert trimesh.Trimesh(found.vertices, found.faces).is_watertight


def test_only_what_is_asked_for_and_nothing_unknown(ball: np.ndarray, words: Vocabulary):
    affine, spleen = centred_affine(ball.shape, SPACING), words.by_key("spleen").id
    assert [s.structure.key for s in surfaces(ball, affine, words, structures=[spleen])] == ["spleen"]
    with pytest.raises(InputError, match="none of the structures"):
        surfaces(ball, affine, words, structures=[])
    with pytest.raises(InputError, match="no ids"):
        surfaces(np.where(ball > 0, 255, 0), affine, words)


def test_a_glb_holds_a_named_coloured_mesh_of_each_structure_in_metres(ball: np.ndarray, words: Vocabulary):
    data = write_glb(surfaces(ball, centred_affine(ball.shape, SPACING), words))
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    said = json.loads(data[20 : 20 + size])
    assert {node["name"] for node in said["nodes"] if "mesh" in node} == {"liver", "spleen"}
    assert {mesh["name"] for mesh in said["meshes"]} == {"liver", "spleen"}
    assert {material["name"] for material in said["materials"]} == {"liver", "spleen"}
    mesh = next(mesh for mesh in said["meshes"] if mesh["name"] == "liver")
    assert mesh["extras"]["code"] == words.by_key("liver").code
    corners = said["accessors"][mesh["primitives"][0]["attributes"]["POSITION"]]
    # 20 mm to the patient's left is +X; a radius of 30 mm.
    np.testing.assert_allclose((corners["min"], corners["max"]), [[-0.01, -0.03, -0.03], [0.05, 0.03, 0.03]], atol=2e-3)
    spleen = next(mesh for mesh in said["meshes"] if mesh["name"] == "spleen")
    corners = said["accessors"][spleen["primitives"][0]["attributes"]["POSITION"]]
    assert min(corners["min"][1], corners["max"][1]) > 0, "the head is +Y"


def test_the_front_is_plus_z(words: Vocabulary):
    labels = np.zeros((6, 12, 6), np.uint8)
    labels[2:4, 1:4, 2:4] = words.by_key("liver").id  # rows run from front to back
    data = write_glb(surfaces(labels, centred_affine(labels.shape, (1.0, 1.0, 1.0)), words))
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    assert scene.bounds[0][2] > 0


def test_trimesh_opens_the_glb_and_finds_the_colours(ball: np.ndarray, words: Vocabulary):
    data = write_glb(surfaces(ball, centred_affine(ball.shape, SPACING), words))
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    assert set(scene.geometry) == {"liver", "spleen"}
    liver = scene.geometry["liver"]
    assert liver.is_watertight and liver.volume > 0
    linear = np.array(liver.visual.material.baseColorFactor[:3]) / 255
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(shown * 255, words.by_key("liver").rgb, atol=6)


def test_the_same_surfaces_give_the_same_bytes(volume: GeneratedVolume, words: Vocabulary):
    one, other = (surfaces(volume.labels, volume.affine, words) for _ in range(2))
    assert write_glb(one) == write_glb(other)
    assert draw_surfaces(one[:3], width=300) == draw_surfaces(other[:3], width=300)


def test_a_picture_shows_each_structure_in_its_colour_on_its_side(words: Vocabulary):
    labels = np.zeros((20, 20, 40), np.uint8)
    labels[5:15, 5:15, 4:14], labels[5:15, 5:15, 26:36] = words.by_key("liver").id, words.by_key("spleen").id
    found = surfaces(labels, centred_affine(labels.shape, (5.0, 5.0, 5.0)), words)
    picture = np.asarray(Image.open(io.BytesIO(draw_surfaces(found, width=600))).convert("RGB")).astype(int)
    front = picture[:, :200]
    middles = {}
    for key in ("liver", "spleen"):
        colour = np.array(words.by_key(key).rgb)
        share = front / np.maximum(front.max(2, keepdims=True), 1) - colour / colour.max()
        middles[key] = np.argwhere((np.abs(share).max(2) < 0.06) & (front.max(2) < 250))[:, 1].mean()
    assert middles["liver"] < 100 < middles["spleen"], "the patient's right is on the left"


def test_nothing_to_show_is_refused():
    with pytest.raises(InputError):
        write_glb([])
    with pytest.raises(InputError):
        draw_surfaces([])

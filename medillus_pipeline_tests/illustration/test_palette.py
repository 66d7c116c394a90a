import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.illustration import palette, print_colours
from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline_tests.illustration.scenes import request, scene


def test_dichromats_confuse_what_they_are_known_to_confuse() -> None:
    red, green, grey = np.array([[0.8, 0.2, 0.2]]), np.array([[0.2, 0.6, 0.2]]), np.array([[0.5, 0.5, 0.5]])
    for eye in ("protan", "deutan"):
        between = np.abs(palette.as_seen(red, eye) - palette.as_seen(green, eye))
        assert between.max() < np.abs(red - green).max() * 0.7
    for eye in ("protan", "deutan", "tritan"):
        assert np.allclose(palette.as_seen(grey, eye), grey, atol=0.01), "greys stay greys"


def test_neighbours_are_told_apart_by_every_eye() -> None:
    vocab = vocabulary.load()
    rng = np.random.default_rng(5)
    everything = [s for s in vocab if s.kind != "region"]
    for count in (4, 10, 20):
        chosen = [everything[int(i)] for i in rng.choice(len(everything), count, replace=False)]
        pairs = {
            frozenset((chosen[int(a)].id, chosen[int(b)].id))
            for a, b in rng.integers(0, count, (2 * count, 2))
            if a != b
        }
        colours = palette.colours(chosen, pairs, "colour-blind")
        least = palette.least_distance(colours, pairs)
        assert least is not None and least >= 12, (count, least)


def test_a_figure_states_the_distance_of_its_palette_and_the_safe_one_is_greater() -> None:
    plain, safe = (draw_figure(request(palette=p), zoom=0.5).sidecar for p in ("vocabulary", "colour-blind"))
    assert safe["palette"]["name"] == "colour-blind"
    assert safe["palette"]["least_distance"] >= 15 > plain["palette"]["least_distance"]
    shown = {s["colour"] for s in safe["structures"] if s["key"] != "body"}
    assert len(shown) == 9 and shown <= set(palette.candidates())


def test_touching_finds_neighbours_and_not_the_far() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:15, 5:15], labels[5:15, 17:25], labels[30:38, 5:15] = 1, 2, 3
    assert palette.touching(labels) == {frozenset((1, 2))}


@pytest.mark.parametrize("colour", ["#00ffff", "#00ff00", "#ff00ff", "#3a86ff"])
def test_what_no_ink_gives_is_replaced_by_what_inks_give(colour: str) -> None:
    shown = print_colours.printed(colour)
    assert shown != colour
    assert palette.worst_distance(shown, print_colours.printed(shown)) < 4, "a printable colour stays"
    assert sum(print_colours.inks(colour)) <= print_colours.MOST_INK


def test_greys_take_black_ink_only_and_paper_none() -> None:
    assert print_colours.inks("#000000") == (0, 0, 0, 1) and print_colours.inks("#ffffff") == (0, 0, 0, 0)
    assert print_colours.inks("#444444")[:3] == (0, 0, 0)


def test_a_journals_colours_can_all_be_printed() -> None:
    figure = draw_figure(request(style="journal"))
    for structure in figure.sidecar["structures"]:
        again = print_colours.printed(structure["colour"])
        assert palette.worst_distance(structure["colour"], again) < 4, structure
    assert scene()[1].any()

"""Captions say what is true, in both languages, and for which other slices they are true can be decided."""

from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.language.captions import Caption, CaptionWriter
from medillus_pipeline.language.captions_phrases import LANGUAGES, structure_names, ways_to_say
from medillus_pipeline.language.encoder_config import CaptionsConfig, FactsConfig
from medillus_pipeline.language.encoder_facts import (
    FALSE,
    TRUE,
    UNKNOWN,
    Fact,
    FactTable,
    claims_of,
    fact_table,
    facts_of,
    truth_of,
)
from medillus_pipeline_tests.language.encoder_scene import small_scene

WORDS = vocabulary.load()


@pytest.fixture(scope="module")
def table() -> FactTable:
    dataset, prior = small_scene()
    return fact_table(dataset, prior, WORDS, facts_of(dataset, prior, WORDS), FactsConfig())


def written(table: FactTable, seed: int = 0, config: CaptionsConfig | None = None) -> list[Caption]:
    writer, random = CaptionWriter(table.facts, WORDS, config or CaptionsConfig()), np.random.default_rng(seed)
    return [writer.write(line, language, random) for _ in range(3) for line in table.truth for language in LANGUAGES]


def of_slice(table: FactTable, row: int, fact: Fact) -> int:
    return int(table.truth[row, table.facts.index(fact)])


def test_a_caption_claims_only_what_is_true_of_its_slice(table: FactTable) -> None:
    claims = claims_of([caption.facts for caption in written(table)], table.facts)
    own = np.tile(np.repeat(np.arange(len(table.truth)), len(LANGUAGES)), 3)
    assert (truth_of(claims, table.truth)[np.arange(len(claims)), own] == TRUE).all()


def test_each_kind_of_fact_is_said_in_each_language(table: FactTable) -> None:
    for language in LANGUAGES:
        said = {fact.kind for caption in written(table) if caption.language == language for fact in caption.facts}
        assert said == {fact.kind for fact in table.facts}


def test_the_same_seed_writes_the_same_captions_and_another_writes_others(table: FactTable) -> None:
    assert written(table) == written(table)
    assert written(table) != written(table, seed=1)


def test_the_same_facts_are_said_in_many_ways() -> None:
    facts = (Fact("modality", "CT"), Fact("contrast_phase", "portal_venous"), Fact("present", "liver"))
    writer, random = CaptionWriter(facts, WORDS, CaptionsConfig()), np.random.default_rng(0)
    for language in LANGUAGES:
        assert len({writer.say(facts, language, random) for _ in range(200)}) > 120


def test_captions_are_in_the_language_that_they_say(table: FactTable) -> None:
    for caption in written(table):
        assert caption.text.isascii() == (caption.language == "en"), caption.text


def test_no_phrase_stands_for_two_facts(table: FactTable) -> None:
    for language in LANGUAGES:
        owner: dict[str, Fact] = {}
        for fact in table.facts:
            for phrase in ways_to_say(fact, language, WORDS):
                assert owner.setdefault(phrase.casefold(), fact) == fact, (phrase, owner[phrase.casefold()], fact)


def test_every_structure_of_the_vocabulary_has_words_in_both_languages() -> None:
    for structure in WORDS:
        assert all(name.isascii() for name in structure_names(structure, "en"))
        assert not any(name.isascii() for name in structure_names(structure, "zh"))
        assert structure_names(structure, "en")[0] == structure.name_en


def test_a_caption_is_false_where_one_of_its_claims_is(table: FactTable) -> None:
    liver, no_liver = Fact("present", "liver"), Fact("absent", "liver")
    claims = claims_of([[liver], [no_liver], [liver, no_liver]], table.facts)
    truth = truth_of(claims, table.truth)
    drawn = table.truth[:, table.facts.index(liver)]
    assert {TRUE, FALSE} <= set(drawn)
    np.testing.assert_array_equal(truth[0], drawn)
    np.testing.assert_array_equal(truth[1], -drawn)
    assert (truth[2] != TRUE).all()


def test_what_an_annotator_drew_nowhere_in_a_series_is_neither_present_nor_absent() -> None:
    dataset, prior = small_scene()
    liver, series = WORDS.by_key("liver").id, dataset.rows[0]["series_instance_uid"]
    rows = [
        row | {"labels": [label for label in row["labels"] if label != liver]}
        if row["series_instance_uid"] == series
        else row
        for row in dataset.rows
    ]
    own = np.array([row["series_instance_uid"] == series for row in rows])
    labels = np.array(dataset.labels)
    labels[own] = np.where(labels[own] == 1 + dataset.classes.index(liver), 0, labels[own])
    undrawn = replace(dataset, rows=rows, labels=labels)
    table = fact_table(undrawn, prior, WORDS, facts_of(dataset, prior, WORDS), FactsConfig())
    for kind in ("present", "absent", "large"):
        column = table.truth[:, table.facts.index(Fact(kind, "liver"))]
        assert (column[own] == UNKNOWN).all()
        assert (column[~own] != UNKNOWN).any()


def test_a_single_pixel_is_no_structure_in_view() -> None:
    dataset, prior = small_scene()
    facts = (Fact("present", "liver"), Fact("absent", "liver"))
    labels = np.zeros_like(np.asarray(dataset.labels))
    labels[0, 3, 3] = labels[1, 3, 3] = labels[1, 3, 4] = 1 + dataset.classes.index(WORDS.by_key("liver").id)
    table = fact_table(replace(dataset, labels=labels), prior, WORDS, facts, FactsConfig(smallest_share=0.0015))
    assert table.truth[:3].tolist() == [[UNKNOWN, UNKNOWN], [TRUE, FALSE], [FALSE, TRUE]]


def test_large_and_small_are_about_the_prior_of_the_level() -> None:
    dataset, prior = small_scene()
    facts = (Fact("large", "liver"), Fact("small", "liver"))
    number = dataset.classes.index(WORDS.by_key("liver").id)
    row = max(range(len(dataset)), key=lambda place: int((dataset.labels[place] == number + 1).sum()))
    level = round(float(dataset.levels[row]) * (len(prior.area) - 1))
    mine = float((dataset.labels[row] == number + 1).sum()) * dataset.rows[row]["affine"][0] ** 2

    def said(deviations: float) -> list[int]:
        area = prior.area.copy()
        area[level, number] = mine - deviations * mine / 10, mine / 10
        return fact_table(dataset, replace(prior, area=area), WORDS, facts, FactsConfig()).truth[row].tolist()

    assert said(1.2) == [TRUE, FALSE]
    assert said(-1.2) == [FALSE, TRUE]
    assert said(0.0) == [FALSE, FALSE]
    assert said(0.8) == [UNKNOWN, FALSE]


def test_a_large_structure_is_claimed_to_be_there(table: FactTable) -> None:
    sized = [
        c for c in written(table, config=CaptionsConfig(size=1.0)) if {"large", "small"} & {f.kind for f in c.facts}
    ]
    assert len(sized) > 20
    for caption in sized:
        keys = {fact.key for fact in caption.facts if fact.kind in ("large", "small")}
        assert {Fact("present", key) for key in keys} <= set(caption.facts)


def test_a_late_arterial_image_is_arterial_and_an_arterial_one_may_be_late() -> None:
    dataset, prior = small_scene()
    facts = tuple(Fact("contrast_phase", phase) for phase in ("arterial", "late_arterial", "early_arterial"))
    rows = [dict(row) for row in dataset.rows]
    rows[0]["contrast_phase"], rows[1]["contrast_phase"] = "late_arterial", "arterial"
    rows[2]["contrast_phase"], rows[3]["contrast_phase"] = None, "contrast_phase_unknown"
    table = fact_table(replace(dataset, rows=rows), prior, WORDS, facts, FactsConfig())
    assert table.truth[:4].tolist() == [
        [TRUE, TRUE, FALSE],
        [TRUE, UNKNOWN, UNKNOWN],
        [UNKNOWN, UNKNOWN, UNKNOWN],
        [UNKNOWN, UNKNOWN, UNKNOWN],
    ]


def test_pathology_and_stage_are_those_of_the_table(table: FactTable) -> None:
    dataset, _ = small_scene()
    ill = [row for row, given in enumerate(dataset.rows) if given["pathology"] == ["liver_cyst"]]
    well = [row for row, given in enumerate(dataset.rows) if given["pathology"] == ["normal"]]
    assert ill and well
    assert {of_slice(table, row, Fact("pathology", "liver_cyst")) for row in ill} == {TRUE}
    assert {of_slice(table, row, Fact("pathology", "liver_cyst")) for row in well} == {FALSE}
    assert {of_slice(table, row, Fact("stage", "IIA")) for row in well} == {UNKNOWN}


def test_a_prior_of_other_classes_is_refused() -> None:
    dataset, prior = small_scene()
    with pytest.raises(ConfigurationError, match="anatomical_prior"):
        fact_table(dataset, replace(prior, classes=prior.classes[1:]), WORDS, (), FactsConfig())


def test_an_unknown_fact_and_a_slice_of_which_nothing_is_true_are_refused(table: FactTable) -> None:
    with pytest.raises(InputError, match="pancreas"):
        claims_of([[Fact("present", "pancreas")]], table.facts)
    writer = CaptionWriter(table.facts, WORDS, CaptionsConfig())
    with pytest.raises(InputError, match="nothing"):
        writer.write(np.zeros(len(table.facts), np.int8), "en", np.random.default_rng(0))

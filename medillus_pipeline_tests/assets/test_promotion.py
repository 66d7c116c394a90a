"""Promotion and rollback on a real MLflow registry: who becomes champion, what is recorded, what is noticed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import typer
from typer.testing import CliRunner

from medillus_pipeline import cli_model, published
from medillus_pipeline.assets.promotion import aliases_as_recorded, champion_report_current, promoted_generator
from medillus_pipeline.errors import GateError, InputError
from medillus_pipeline.resources import promotions
from medillus_pipeline.resources.locked_test import in_words, locked_test_openings
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.validation import gates
from medillus_pipeline.validation.gates import Verdict
from medillus_pipeline.validation.promotion_rules import Approval
from medillus_pipeline_tests.assets.registries import aliases, new_database, registry, settings_with, validated

NOW = {"status": "failed", "sentence": "Not to be promoted.", "failed_gates": ["dice_recovery"]}
ETHICS = {"intended_use": "teaching", "responsible": "head of anatomy", "date": "2026-03-01"}
REVIEWERS = (Approval("r-0001", "physician"), Approval("r-0002", "engineer"))


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def settings(tmp_path: Path, database: Path) -> Settings:
    return settings_with(database, tmp_path / "home")


@pytest.fixture
def strict(tmp_path: Path, database: Path) -> Settings:
    return settings_with(database, tmp_path / "strict", MEDILLUS_PROFILE="clinical-education")


def promote(settings: Settings, version: str, **changes: object) -> promotions.Done:
    validated(settings, version)
    return promotions.promote(registry(settings), run_id=f"run-of-{version}", **changes)  # type: ignore[arg-type]


def rollback(settings: Settings, **changes: object) -> promotions.Done:
    given = {"run_id": "run-back", "reason": "worse livers", **changes}
    return promotions.rollback(registry(settings), **given)  # type: ignore[arg-type]


def rows(settings: Settings) -> list[tuple[str, str, str | None]]:
    return [(turn.action, turn.version, turn.previous) for turn in promotions.history(settings.clean).turns]


def dagster_run(settings: Settings, **config: object) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [promoted_generator, aliases_as_recorded, champion_report_current],
        resources={"store": StoreResource.of(settings), "mlflow": MLflowResource.of(settings)},
        run_config={"ops": {"promoted_generator": {"config": config}}},
        instance=dg.DagsterInstance.ephemeral(),
    )


def test_a_promotion_moves_aliases_and_pointer_and_records_a_row(settings: Settings) -> None:
    promote(settings, "1")
    done = promote(settings, "3")
    assert aliases(settings) == ("3", "1")
    assert rows(settings) == [("promote", "1", None), ("promote", "3", "1")]
    assert (done.turn.number, done.turn.run_id, done.turn.reason) == (2, "run-of-3", "All gates of the profile passed.")
    assert published.require(settings.clean, "promoted_generator")["version"] == "3"


def test_the_version_is_tagged_with_gates_reviewers_dataset_and_run(settings: Settings) -> None:
    validated(settings, "2")
    signed = replace(registry(settings), approvals=lambda _version: REVIEWERS)
    promotions.promote(signed, run_id="run-of-2")
    tags = signed.mlflow.client().get_model_version(signed.mlflow.model, "2").tags
    assert tags == tags | {
        "gates_verdict": "passed",
        "gates_profile": "demo",
        "gates_sha256": gates.fingerprint(),
        "reviewers": "r-0001, r-0002",
        "dataset_fingerprint": "f" * 64,
        "promoted_by_run": "run-of-2",
    }


def test_promoting_the_champion_again_adds_no_row_and_mends_its_aliases(settings: Settings) -> None:
    promote(settings, "1")
    promote(settings, "2")
    client = MLflowResource.of(settings).client()
    client.set_registered_model_alias("medillus-generator", "champion", "4")
    again = promote(settings, "2")
    assert not again.new
    assert "the alias champion points at version 4" in again.remarks[0]
    assert len(rows(settings)) == 2
    assert aliases(settings) == ("2", "1")


def test_a_champion_that_is_older_than_the_table_becomes_previous(settings: Settings) -> None:
    MLflowResource.of(settings).promote("1", {})
    promote(settings, "2")
    assert aliases(settings) == ("2", "1")
    with pytest.raises(InputError, match="before promotions were recorded"):
        rollback(settings)


@pytest.mark.parametrize(
    ("stale", "said"),
    [
        ({"gates_sha256": "0" * 64}, "under other gates"),
        ({"judge_sha256": "0" * 64}, "with another judge"),
        (NOW, "Gates not passed: dice_recovery"),
    ],
)
def test_a_report_that_does_not_hold_now_promotes_nothing(settings: Settings, stale: dict, said: str) -> None:
    validated(settings, "1", **stale)
    with pytest.raises(GateError, match=said):
        promotions.promote(registry(settings), run_id="r")
    assert aliases(settings) == (None, None)
    assert rows(settings) == []


def test_a_strict_profile_names_all_that_is_missing_in_one_message_and_opens_no_locked_test(strict: Settings) -> None:
    validated(strict, "1", judge_sha256="0" * 64)
    with pytest.raises(GateError) as refused:
        promotions.promote(registry(strict), run_id="r")
    parts = str(refused.value).split(" | ")
    wanted = ("another judge", "2 human approvals", "1 must be by a physician", "asks for an ethics record")
    for part, said in zip(parts, wanted, strict=True):
        assert said in part
    assert locked_test_openings(strict.clean) == ()


def measured_as(figures: dict[str, float]) -> Callable[[str], Verdict]:
    return lambda _version: gates.judge_gates(gates.load_profile("clinical-education"), figures)


def test_the_locked_test_is_opened_for_a_version_that_lacks_nothing_else_and_counted(strict: Settings) -> None:
    good = {
        f"{gate.figure}{end}": gate.minimum if gate.maximum is None else gate.maximum if gate.minimum is None else 1.0
        for gate in gates.load_profile("clinical-education").gates
        for end in ("", "_low", "_high")
    }
    unsigned = replace(registry(strict), ethics=ETHICS, locked_test=measured_as(good))  # type: ignore[arg-type]
    signed = replace(unsigned, approvals=lambda _version: REVIEWERS)
    validated(strict, "1")
    with pytest.raises(GateError, match="approvals"):
        promotions.promote(unsigned, run_id="r")
    assert in_words(locked_test_openings(strict.clean)) == "The locked test was never opened."

    with pytest.raises(GateError, match=r"On the locked test, opened for the 1\. time: Inconclusive"):
        promotions.promote(replace(signed, locked_test=measured_as({})), run_id="r")
    assert aliases(strict) == (None, None)

    done = promotions.promote(signed, run_id="r")
    assert [opening.version for opening in locked_test_openings(strict.clean)] == ["1", "1"]
    assert done.document["locked_test_openings"] == 2
    promotions.promote(signed, run_id="again")
    assert len(locked_test_openings(strict.clean)) == 2


def test_an_opening_that_fails_half_way_was_an_opening_too(strict: Settings) -> None:
    def breaks(_version: str) -> Verdict:
        raise OSError("no space")

    validated(strict, "1")
    signed = replace(registry(strict), ethics=ETHICS, approvals=lambda _version: REVIEWERS)
    broken = replace(signed, locked_test=breaks)
    with pytest.raises(OSError, match="no space"):
        promotions.promote(broken, run_id="r")
    assert len(locked_test_openings(strict.clean)) == 1


def test_the_demo_never_opens_the_locked_test(settings: Settings) -> None:
    promote(settings, "1")
    assert locked_test_openings(settings.clean) == ()


def test_rollbacks_go_down_the_champions_one_by_one_and_figures_follow(settings: Settings) -> None:
    for version in ("1", "2", "3"):
        promote(settings, version)
    assert rollback(settings).turn.version == "2"
    assert aliases(settings) == ("2", "1")
    assert published.require(settings.clean, "promoted_generator")["run_id"] == "run-2"
    rollback(settings)
    assert aliases(settings) == ("1", None)
    with pytest.raises(InputError, match="no champion before it"):
        rollback(settings)
    assert rows(settings)[3:] == [("rollback", "2", "3"), ("rollback", "1", "2")]


def test_a_rollback_to_a_named_former_champion(settings: Settings) -> None:
    for version in ("1", "2", "3"):
        promote(settings, version)
    with pytest.raises(InputError, match="was never champion"):
        rollback(settings, version="4")
    with pytest.raises(InputError, match="needs a reason"):
        rollback(settings, reason=" ")
    rollback(settings, version="1")
    assert aliases(settings) == ("1", None)


def test_a_revoked_version_is_never_champion_again(settings: Settings) -> None:
    promote(settings, "1")
    promote(settings, "2")
    rollback(settings, revoke=True)
    assert rows(settings)[2:] == [("rollback", "1", "2"), ("revoke", "2", None)]
    with pytest.raises(InputError, match="was revoked"):
        rollback(settings, version="2")
    with pytest.raises(GateError, match="version 2 was revoked"):
        promote(settings, "2", again=True)
    promote(settings, "3")
    assert aliases(settings) == ("3", "1")


def test_what_a_person_took_down_comes_back_only_by_a_person(settings: Settings) -> None:
    promote(settings, "1")
    promote(settings, "2")
    rollback(settings)
    assert "taken down by a person" in str(promotions.not_promoted_by_itself(settings.clean, "demo"))
    with pytest.raises(GateError, match=r"rolled back .*worse livers.*--again"):
        promote(settings, "2")
    assert promote(settings, "2", again=True).new
    assert aliases(settings) == ("2", "1")


def test_a_rollback_that_was_killed_before_the_aliases_is_completed_not_repeated(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2", "3"):
        promote(settings, version)

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(MLflowResource, "promote", killed)
        with pytest.raises(SystemExit):
            rollback(settings)
    assert aliases(settings) == ("3", "2")
    assert len(promotions.alias_changes(registry(settings))) == 2
    assert not rollback(settings).new
    assert aliases(settings) == ("2", "1")
    assert promotions.alias_changes(registry(settings)) == []


def test_the_asset_promotes_and_both_checks_pass(settings: Settings) -> None:
    validated(settings, "1")
    result = dagster_run(settings)
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["action"].value == "promote"
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "aliases_as_recorded": True,
        "champion_report_current": True,
    }
    assert rows(settings) == [("promote", "1", None)]
    assert promotions.history(settings.clean).turns[0].run_id == result.run_id


def test_the_asset_rolls_back_with_nothing_but_its_action(settings: Settings) -> None:
    promote(settings, "1")
    promote(settings, "2")
    assert dagster_run(settings, action="rollback").success
    assert aliases(settings) == ("1", None)
    assert promotions.history(settings.clean).turns[-1].reason == "no reason was given"


def watched(settings: Settings, check: Callable) -> dg.AssetCheckResult:
    resources = {"store": StoreResource.of(settings), "mlflow": MLflowResource.of(settings)}
    names = {"store", "mlflow"} if check is aliases_as_recorded else {"store"}
    return check(**{name: resources[name] for name in names})


def test_an_alias_moved_by_hand_is_noticed_with_what_differs(settings: Settings) -> None:
    promote(settings, "1")
    promote(settings, "2")
    assert watched(settings, aliases_as_recorded).passed
    MLflowResource.of(settings).client().set_registered_model_alias("medillus-generator", "champion", "4")
    found = watched(settings, aliases_as_recorded)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "champion points at version 4, the last row of the promotions (number 2) says version 2" in str(
        found.description
    )
    MLflowResource.of(settings).client().delete_registered_model_alias("medillus-generator", "champion")
    assert "champion points at no version" in str(watched(settings, aliases_as_recorded).description)


@pytest.mark.parametrize("changed", ["judge", "dataset rules", "gates"])
def test_a_champion_is_stale_when_its_judge_dataset_rules_or_gates_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    promote(settings, "1")
    assert watched(settings, champion_report_current).passed
    clean = settings.clean
    if changed == "judge":
        published.publish(clean, "judge", {"path": "x", "sha256": "1" * 64})
    elif changed == "dataset rules":
        manifest = clean.put("datasets", json.dumps({"format": 2, "config": {"size": 256}}).encode(), ".json").path
        published.publish(clean, "training_dataset", {"fingerprint": "e" * 64, "manifest": manifest})
    else:
        document = gates._document()
        monkeypatch.setattr(gates, "_document", lambda: document + b" ")
    found = watched(settings, champion_report_current)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"other {changed}" in str(found.description).replace("another", "other")


def test_more_data_under_the_same_rules_make_no_champion_stale(settings: Settings) -> None:
    promote(settings, "1")
    same = {"format": 2, "config": {"size": 128}, "fingerprint": "another"}
    manifest = settings.clean.put("datasets", json.dumps(same).encode(), ".json").path
    published.publish(settings.clean, "training_dataset", {"fingerprint": "e" * 64, "manifest": manifest})
    assert promotions.stale_champion(settings.clean) == []


def test_only_a_profile_that_says_so_promotes_by_itself(settings: Settings, strict: Settings) -> None:
    validated(settings, "1")
    validated(strict, "1")
    assert promotions.not_promoted_by_itself(settings.clean, "demo") is None
    for profile in ("research", "clinical-education"):
        said = promotions.not_promoted_by_itself(strict.clean, profile)
        assert f"profile {profile} promotes nothing by itself" in str(said)
    promote(settings, "1")
    assert promotions.not_promoted_by_itself(settings.clean, "demo") is None


def test_the_commands_promote_roll_back_and_show(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda *_: settings))
    app, runner = typer.Typer(), CliRunner()
    cli_model.register(app)

    def run(*words: str) -> str:
        result = runner.invoke(app, [*words])
        assert result.exit_code == 0, result.exception
        return result.output

    for version in ("1", "2"):
        validated(settings, version)
        assert f"version {version} of medillus-generator is champion now" in run("promote", "--reason", "seen")
    assert "version 1 of medillus-generator is champion again" in run("rollback", "--reason", "worse livers")
    assert aliases(settings) == ("1", None)
    MLflowResource.of(settings).client().set_registered_model_alias("medillus-generator", "champion", "3")
    shown = run("models")
    assert "rollback 1 (before: 2) by command-line: worse livers" in shown
    assert "changed by hand: the alias champion points at version 3" in shown
    assert "The locked test was never opened." in shown
    assert "changed by hand" not in run("models", "--settle")
    assert aliases(settings) == ("1", None)
    with dg.DagsterInstance.from_config(str(settings.home / "dagster")) as instance:
        events = instance.fetch_materializations(dg.AssetKey("promoted_generator"), limit=10).records
    assert len(events) == 3

"""Promotions at the same time and promotions that are killed, with real processes on one real MLflow registry."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline import published
from medillus_pipeline.errors import MedillusError
from medillus_pipeline.resources import promotions
from medillus_pipeline.resources.promotion_lock import PromotionBusy
from medillus_pipeline.settings import Settings
from medillus_pipeline_tests.assets.registries import aliases, new_database, registry, settings_with, validated

PROMOTER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from medillus_pipeline.errors import MedillusError
from medillus_pipeline.resources import promotions
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline_tests.assets.registries import registry
from medillus_pipeline_tests.flow import settings_at

home, owner, act = sys.argv[1:]
asked = registry(settings_at(Path(home)))

def waiting(version):
    print("inside", flush=True)
    sys.stdin.readline()
    return ()

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if act == "wait":
    asked = replace(asked, approvals=waiting)
if act == "killed":
    MLflowResource.promote = killed
while True:
    try:
        if act in ("wait", "killed", "promote"):
            promotions.promote(asked, run_id=owner)
        else:
            promotions.rollback(asked, run_id=owner, reason="a race", version=act)
        print("done")
        break
    except promotions.PromotionBusy as busy:
        if act == "promote":
            sys.exit(str(busy))
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def settings(tmp_path: Path, database: Path) -> Settings:
    """Version 1 is champion, version 2 waits."""
    settings = settings_with(database, tmp_path / "home")
    validated(settings, "1")
    promotions.promote(registry(settings), run_id="first")
    validated(settings, "2")
    return settings


def promoter(settings: Settings, owner: str, act: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROMOTER, str(settings.home), owner, act]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def row_numbers(settings: Settings) -> list[int]:
    return [turn.number for turn in promotions.history(settings.clean).turns]


def inside(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n", process.communicate()[1]


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(settings: Settings) -> None:
    winner = promoter(settings, "run-of-the-winner", "wait")
    inside(winner)
    loser = promoter(settings, "run-of-the-loser", "promote")
    _, said = loser.communicate(timeout=120)
    assert loser.returncode == 1
    assert "another promotion or rollback is under way by run-of-the-winner" in said
    with pytest.raises(PromotionBusy, match="run-of-the-winner"):
        promotions.rollback(registry(settings), run_id="me", reason="now")
    assert aliases(settings) == ("1", None)
    out, errors = winner.communicate("\n", timeout=120)
    assert out == "done\n", errors
    assert aliases(settings) == ("2", "1")
    assert row_numbers(settings) == [1, 2]


def test_a_promotion_killed_under_the_lock_leaves_everything_as_it_was_and_blocks_nobody(settings: Settings) -> None:
    before = settings.clean.files("tables"), aliases(settings)
    victim = promoter(settings, "run-of-the-victim", "wait")
    inside(victim)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert (settings.clean.files("tables"), aliases(settings)) == before
    assert promotions.promote(registry(settings), run_id="next").new
    assert aliases(settings) == ("2", "1")


def test_a_promotion_killed_between_row_and_aliases_is_noticed_and_completed_without_a_second_row(
    settings: Settings,
) -> None:
    victim = promoter(settings, "run-of-the-victim", "killed")
    _, errors = victim.communicate(timeout=120)
    assert victim.returncode == -signal.SIGKILL, errors
    assert aliases(settings) == ("1", None)
    assert published.require(settings.clean, "promoted_generator")["version"] == "1"
    assert any("champion" in text for text in promotions.alias_changes(registry(settings)))
    done = promotions.promote(registry(settings), run_id="next")
    assert (done.new, done.turn.run_id) == (False, "run-of-the-victim")
    assert aliases(settings) == ("2", "1")
    assert published.require(settings.clean, "promoted_generator")["version"] == "2"
    assert row_numbers(settings) == [1, 2]


def test_a_row_that_another_writer_made_first_is_never_written_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that was stopped past its lease goes on with what it read before."""
    stale = promotions.history(settings.clean)
    promotions.promote(registry(settings), run_id="quick")
    before = settings.clean.read("tables/promotions/partition=000002/part-0.parquet")
    validated(settings, "3")
    with monkeypatch.context() as patch:
        patch.setattr(promotions, "history", lambda *_, **__: stale)
        with pytest.raises(MedillusError, match="recorded first, and nothing was changed"):
            promotions.promote(registry(settings), run_id="slow")
    assert settings.clean.read("tables/promotions/partition=000002/part-0.parquet") == before
    assert aliases(settings) == ("2", "1")


@pytest.mark.slow
def test_many_at_once_leave_one_unbroken_history_and_aliases_that_agree_with_it(settings: Settings) -> None:
    for version in ("2", "3", "4"):
        validated(settings, version)
        promotions.promote(registry(settings), run_id=version)
    racers = [promoter(settings, f"racer-{version}", version) for version in ("1", "2", "3")]
    outcomes = [racer.communicate(timeout=300) for racer in racers]
    assert [out for out, _ in outcomes] == ["done\n"] * 3, outcomes
    assert row_numbers(settings) == [1, 2, 3, 4, 5, 6, 7]
    assert promotions.alias_changes(registry(settings)) == []

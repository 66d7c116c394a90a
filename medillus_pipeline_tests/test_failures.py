"""What leaves a step that failed: a message for who must act, and from a restricted step nothing else."""

import json
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline.annotation import batch
from medillus_pipeline.deidentification import ingest
from medillus_pipeline.errors import InputError, StoreError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline_tests.site import Site, drawing, failure, series

CANARY = "Vogelweide^Walther 19611224"
HALVES = ("Vogelweide", "19611224")


def broken(*_: Any, **__: Any) -> Any:
    """Fails as badly as it can."""
    name = CANARY
    try:
        raise ValueError(f"cannot parse {name}")
    except ValueError as error:
        further = KeyError(name)
        further.add_note(f"while reading {name}")
        raise further from error


def everything(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> str:
    """All that Dagster keeps of a run: its event log with every payload, its tags and config."""
    entries = instance.all_logs(result.run_id)
    assert entries
    run = instance.get_run_by_id(result.run_id)
    return "\n".join([*(entry.to_json() for entry in entries), json.dumps(dict(run.tags)) if run else "", repr(run)])


@pytest.fixture
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.arrive("images", "scan", series(1000))
    site.arrive("annotations", "drawn", {f"{site.slice_name(1000)}.json": drawing("liver")})
    yield site


@pytest.mark.parametrize(
    ("job", "partition", "module", "function"),
    [
        ("ingest_delivery", "scan", ingest, "list_units"),
        ("ingest_delivery", "scan", ingest, "_collect"),
        ("ingest_annotations", "drawn", batch, "publish"),
    ],
)
def test_nothing_of_an_exception_in_a_restricted_step_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], job: str, partition: str,
    module: Any, function: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, function, broken)
    site.said.clear()
    result = site.run(job, partition)
    message = failure(result)
    assert message.startswith("unexpected KeyError at ")
    assert "Its text is withheld" in message
    printed = "".join(capfd.readouterr())
    for half in HALVES:
        assert half not in everything(result, site.instance)
        assert half not in "\n".join(site.said)
        assert half not in printed
        assert half not in repr(list(result.all_events))
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_the_log_of_a_step_that_is_not_restricted_does_keep_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exception on the clean side, where it helps: so the test above could fail."""
    from medillus_pipeline.dicom import slices

    assert site.run("ingest_delivery", "scan").success
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    monkeypatch.setattr(slices, "render_delivery", broken)
    result = site.run("ingest_delivery", "scan", asset_selection=[dg.AssetKey("slices")])
    assert not result.success
    assert HALVES[0] in everything(result, site.instance)


def chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("raised", [KeyError(CANARY), StoreError("the disk is full"), OSError(5, CANARY, CANARY)])
def test_a_restricted_failure_is_chained_to_nothing(raised: Exception) -> None:
    with pytest.raises(dg.Failure) as caught, failing_clearly(restricted=True):
        try:
            raise ValueError(CANARY)
        except ValueError as error:
            raise raised from error
    assert chain(caught.value) == [caught.value]
    shown = repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert HALVES[0] not in shown


def test_a_restricted_failure_inside_an_except_block_is_chained_to_nothing() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        with pytest.raises(dg.Failure) as caught, failing_clearly(restricted=True):
            raise KeyError(CANARY)  # noqa: B904 - the chain is what is tested
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_message_names_the_type_and_the_line_of_ours() -> None:
    with pytest.raises(dg.Failure) as caught, failing_clearly(restricted=True):
        json.loads("{")
    assert str(caught.value).startswith("unexpected JSONDecodeError at ")
    assert "test_failures.py" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "again"),
    [(StoreError("the disk is full"), True), (InputError("nothing there"), False), (OSError(28, "x"), True)],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(error: Exception, again: bool) -> None:
    with pytest.raises(dg.Failure) as caught, failing_clearly():
        raise error
    assert caught.value.allow_retries is again


def test_an_error_of_a_local_file_says_what_to_check_and_names_no_file() -> None:
    with pytest.raises(dg.Failure) as caught, failing_clearly(restricted=True):
        raise OSError(28, "No space left on device", f"/landing/{CANARY}")
    assert "No space left on device" in str(caught.value)
    assert "check free space" in str(caught.value)
    assert HALVES[0] not in str(caught.value)


def test_a_transient_error_is_tried_three_times_and_a_permanent_one_once(without_waiting: None) -> None:
    tries: list[str] = []

    @dg.asset(retry_policy=RETRY)
    def transient() -> None:
        with failing_clearly():
            tries.append("transient")
            raise StoreError("the store does not answer: check it")

    @dg.asset(retry_policy=RETRY)
    def permanent() -> None:
        with failing_clearly():
            tries.append("permanent")
            raise InputError("the input is wrong: mend it")

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([transient, permanent], instance=instance, raise_on_error=False)
    assert sorted(tries) == ["permanent", "transient", "transient", "transient"]


def test_what_a_person_pressed_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), failing_clearly(restricted=True):
        raise KeyboardInterrupt
    assert sys.exc_info() == (None, None, None)

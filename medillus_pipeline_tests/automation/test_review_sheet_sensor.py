"""After a retraining a blind sheet lies ready where people have to approve, and a reason is given where not."""

from pathlib import Path

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.automation.jobs import retrain
from medillus_pipeline.automation.reviews import REVIEW_SENSORS, make_review_sheet, sheet_after_retraining
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline_tests.automation.states import publish_training
from medillus_pipeline_tests.automation.test_promotion_sensor import retrain_stand_in
from medillus_pipeline_tests.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def after_a_retraining(site: Site, profile: str) -> dg.RunRequest | dg.SkipReason:
    store = StoreResource(**{**site.store.model_dump(), "profile": profile})
    done = retrain_stand_in.execute_in_process(instance=site.instance)
    context = dg.build_run_status_sensor_context(
        sensor_name="sheet_after_retraining",
        dagster_instance=site.instance,
        dagster_run=done.dagster_run,
        dagster_event=done.get_run_success_event(),
    )
    return sheet_after_retraining(context, store=store)


@pytest.mark.parametrize("profile", ["research", "clinical-education"])
def test_a_sheet_is_made_of_a_new_version_where_people_have_to_approve(site: Site, profile: str) -> None:
    publish_training(site)
    request = after_a_retraining(site, profile)
    assert isinstance(request, dg.RunRequest) and str(request.run_key).startswith("review-sheet:")


def test_a_version_that_has_its_sheet_gets_no_second_one(site: Site) -> None:
    publish_training(site)
    published.publish(site.store.clean, "review_tasks", {"version": "3"})
    reason = after_a_retraining(site, "research")
    assert isinstance(reason, dg.SkipReason) and "version 3 lies ready" in str(reason.skip_message)
    published.publish(site.store.clean, "review_tasks", {"version": "2"})
    assert isinstance(after_a_retraining(site, "research"), dg.RunRequest)


def test_the_demo_asks_nobody(site: Site) -> None:
    publish_training(site)
    reason = after_a_retraining(site, "demo")
    assert isinstance(reason, dg.SkipReason) and "asks for no approvals" in str(reason.skip_message)


def test_it_runs_by_itself_and_watches_the_retraining() -> None:
    assert sheet_after_retraining in REVIEW_SENSORS
    assert sheet_after_retraining.default_status is dg.DefaultSensorStatus.RUNNING
    assert {target.job_name for target in sheet_after_retraining.targets} == {make_review_sheet.name}
    assert retrain.name == retrain_stand_in.name

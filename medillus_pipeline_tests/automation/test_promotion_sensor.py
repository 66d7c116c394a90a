"""After a retraining: promotion by itself where the profile lets it, and a reason where not."""

from pathlib import Path

import dagster as dg
import pytest

from medillus_pipeline.automation.jobs import promote, retrain
from medillus_pipeline.automation.sensors import promote_by_itself
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline_tests.automation.states import publish_training
from medillus_pipeline_tests.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def after_a_retraining(site: Site, profile: str) -> dg.RunRequest | dg.SkipReason:
    store = StoreResource(**{**site.store.model_dump(), "profile": profile})
    done = retrain_stand_in.execute_in_process(instance=site.instance)
    context = dg.build_run_status_sensor_context(
        sensor_name="promote_by_itself",
        dagster_instance=site.instance,
        dagster_run=done.dagster_run,
        dagster_event=done.get_run_success_event(),
    )
    return promote_by_itself(context, store=store)


@dg.op
def trained() -> None:
    """Stands for the steps of a retraining."""


@dg.job(name="retrain")
def retrain_stand_in() -> None:
    trained()


def test_a_new_version_is_promoted_once_where_the_profile_lets_it(site: Site) -> None:
    publish_training(site)
    request = after_a_retraining(site, "demo")
    assert isinstance(request, dg.RunRequest) and str(request.run_key).startswith("promote:")


@pytest.mark.parametrize("profile", ["research", "clinical-education"])
def test_where_people_decide_the_version_is_only_proposed(site: Site, profile: str) -> None:
    publish_training(site)
    reason = after_a_retraining(site, profile)
    assert isinstance(reason, dg.SkipReason)
    assert "Version 3 is proposed" in str(reason.skip_message) and "medillus promote" in str(reason.skip_message)


def test_it_watches_the_retraining_and_asks_for_the_promotion() -> None:
    assert promote_by_itself.default_status is dg.DefaultSensorStatus.RUNNING
    assert {target.job_name for target in promote_by_itself.targets} == {promote.name}
    assert retrain.name == retrain_stand_in.name

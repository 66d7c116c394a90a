"""What end-to-end tests share: a home with a small synthetic cohort in landing, and the flow over it, tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.phantom.cohort import Cohort, write_cohort
from medillus_pipeline.phantom.keys import DEMO_KEY, DEMO_SALT
from medillus_pipeline.run_all import Flow, run_all
from medillus_pipeline.settings import Settings, write_secret
from medillus_pipeline.validation import gates
from medillus_pipeline_tests.tiny import TINY as TINY

SHAPE = (12, 96, 96)


def settings_at(home: Path, **further: str) -> Settings:
    """Settings of the demo's profile below `home`, one process and one thread, with the demo's public key."""
    environment = {
        "MEDILLUS_HOME": str(home),
        "MEDILLUS_PROFILE": "demo",
        "MEDILLUS_WORKERS": "1",
        "MEDILLUS_THREADS": "1",
        **further,
    }
    settings = Settings.from_environment(environment)
    for path, secret in ((settings.key_file, DEMO_KEY), (settings.split_salt_file, DEMO_SALT)):
        if not path.exists():
            write_secret(path, secret)
    return settings


def land_cohort(settings: Settings, folder: Path, patients: int = 8) -> Cohort:
    """Write a small cohort to `folder` and put every file of it into the landing zone, markers last."""
    cohort = write_cohort(folder, settings.pseudonymiser(), patients=patients, shape=SHAPE, labels=True, workers=1)
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "_READY")
    for path in files:
        settings.landing.write(path.relative_to(folder).as_posix(), path.read_bytes())
    return cohort


def flow(settings: Settings, said: list[str] | None = None, configs: dict[str, Any] | None = None) -> Flow:
    """The whole flow on an instance of its own below the home."""
    with local_instance(settings.home) as instance:
        return run_all(
            settings,
            instance,
            say=(said if said is not None else []).append,
            configs=TINY if configs is None else configs,
        )


def lower_gates(patch: pytest.MonkeyPatch) -> None:
    """Gates that a tiny model passes: one for the demo's profile, on the number of patients."""
    gate = {"figure": "patients", "minimum": 1, "measures_judge": True, "reason": "something was measured"}
    profile = {"purpose": "tests", "required_approvals": 0, "automatic_promotion": True, "gates": [gate]}
    profile["review_statement"] = "asks for none"
    document = json.dumps({"profiles": {"demo": profile}}).encode()
    patch.setattr(gates, "_document", lambda: document)

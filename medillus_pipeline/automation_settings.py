"""When automation starts something: settings of landing, of retraining and of the nights, from the environment.

Where alerts go is not here but in the file that `MEDILLUS_ALERTS` names (`resources/alerts.py`); where things are kept
is in `settings.py`. Sensors read these settings at each tick, the schedules when the definitions are loaded.
"""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medillus_pipeline.errors import ConfigurationError

VARIABLES: dict[str, tuple[str, str]] = {
    "MEDILLUS_LANDING_QUIET_MINUTES": (
        "landing_quiet_minutes",
        "a landing folder without _READY counts as complete after so many minutes without a change; 0: never",
    ),
    "MEDILLUS_LANDING_RUNS_PER_TICK": ("landing_runs_per_tick", "most runs that one tick of a landing sensor starts"),
    "MEDILLUS_RETRAIN_SLICES": ("retrain_slices", "new labelled slices that start a retraining during the day"),
    "MEDILLUS_RETRAIN_SHARE": (
        "retrain_share",
        "share of new labelled slices, of those trained on, that starts one too; 0: the number alone decides",
    ),
    "MEDILLUS_RETRAIN_DEBOUNCE_MINUTES": (
        "retrain_debounce_minutes",
        "minutes without new masks before a retraining starts, but never more than six times as long; 0: at once",
    ),
    "MEDILLUS_NIGHT": ("night", "cron expression of the nightly retraining"),
    "MEDILLUS_TIME_ZONE": ("time_zone", "IANA time zone of that expression, such as Europe/Zurich"),
    "MEDILLUS_TRAINING_GPUS": ("training_gpus", "GPUs that a training asks Kubernetes for; 0: none"),
    "MEDILLUS_ALERTS": ("alerts", "TOML file of where alerts go; unset: no alerts"),
}
"""Environment variable → (field of AutomationSettings, what it is)."""

PATIENCE = 6
"""Debounce periods after which a retraining starts although masks keep arriving."""

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FIELD = re.compile(r"(\*|\d+(-\d+)?)(/[1-9]\d*)?(,(\*|\d+(-\d+)?)(/[1-9]\d*)?)*")


def _in_range(text: str, bounds: tuple[int, int]) -> bool:
    numbers = map(int, re.findall(r"\d+", re.sub(r"/\d+", "", text)))
    return _FIELD.fullmatch(text) is not None and all(bounds[0] <= number <= bounds[1] for number in numbers)


class AutomationSettings(BaseModel):
    """When automation starts something."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    landing_quiet_minutes: float = Field(default=0, ge=0, le=7 * 24 * 60)
    landing_runs_per_tick: int = Field(default=25, ge=1, le=1000)
    retrain_slices: int = Field(default=1, ge=1)
    retrain_share: float = Field(default=0, ge=0, le=1)
    retrain_debounce_minutes: float = Field(default=0, ge=0, le=24 * 60)
    night: str = "0 2 * * *"
    time_zone: str = "UTC"
    training_gpus: int = Field(default=0, ge=0, le=64)
    alerts: str = ""

    @field_validator("night")
    @classmethod
    def _cron(cls, expression: str) -> str:
        # Dagster refuses it too, but while it loads the definitions, and without the name of the variable.
        fields = expression.split()
        fits = len(fields) == len(_RANGES) and all(map(_in_range, fields, _RANGES))
        if not fits:
            raise ValueError("a cron expression has five fields of numbers: minute, hour, day, month, weekday")
        return expression

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError("this is no time zone of the IANA database, such as Europe/Zurich") from None
        return name

    @property
    def quiet(self) -> timedelta | None:
        """How long a folder without a marker has to stay as it is; None where only the marker counts."""
        return timedelta(minutes=self.landing_quiet_minutes) if self.landing_quiet_minutes else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Settings from `MEDILLUS_*` variables. Raises ConfigurationError for a value out of its bounds."""
        env = os.environ if environment is None else environment
        given = {field: env[name] for name, (field, _) in VARIABLES.items() if env.get(name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            variable = next(name for name, (field, _) in VARIABLES.items() if field == first["loc"][0])
            raise ConfigurationError(f"{variable}: {first['msg'].removeprefix('Value error, ')}") from None

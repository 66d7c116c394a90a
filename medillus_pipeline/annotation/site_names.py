"""A site's own names for structures, as configured: a TOML file that MEDILLUS_VOCABULARY names.

    [names]
    "Foie_dr" = "liver"

On the left a name as it stands in submitted files, on the right a key of `vocabulary.csv`. What is not here: how names
are compared, and which a structure already has (`vocabulary.py`).
"""

import tomllib
from pathlib import Path
from typing import Any, cast

from medillus_pipeline.errors import ConfigurationError

TABLE = "names"


def read(path: Path) -> dict[str, str]:
    """Name to key, as the file gives them; keys are not yet looked up.

    Raises ConfigurationError for a file that is absent, no TOML (a name that stands twice is none), has anything
    beside the table `[names]`, or holds an empty name or a key that is not text.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"MEDILLUS_VOCABULARY: {path} cannot be read; name a file that exists") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"MEDILLUS_VOCABULARY: {path} is not TOML in UTF-8: {error}") from error
    if strange := sorted(set(document) - {TABLE}):
        raise ConfigurationError(f"MEDILLUS_VOCABULARY: {path} has {', '.join(strange)}; only [names] belongs there")
    names = document.get(TABLE, {})
    if not isinstance(names, dict):
        raise ConfigurationError(
            f'MEDILLUS_VOCABULARY: in {path}, names is a table: [names] with lines "Foie" = "liver"'
        )
    for name, key in cast(dict[str, Any], names).items():
        if not name.strip():
            raise ConfigurationError(f"MEDILLUS_VOCABULARY: {path} has an empty name; remove the line")
        if not isinstance(key, str):
            raise ConfigurationError(f'MEDILLUS_VOCABULARY: {path}: {name!r} needs a key in quotes, such as "liver"')
    return {name.strip(): key.strip() for name, key in cast(dict[str, str], names).items()}

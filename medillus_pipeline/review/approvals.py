"""Who approved a model version, by role; pure. How many must is in `validation/promotion_rules.py`."""

from collections.abc import Iterable, Mapping
from typing import Any

from medillus_pipeline.review.roster import ROLES, Roster


def approvals(
    reviews: Iterable[Mapping[str, Any]], roster: Roster, version: str, weights_sha256: str
) -> dict[str, list[str]]:
    """Role → pseudonyms, ascending, of those who approve these very weights as this version; roles without are absent.

    `reviews` are rows of the table `reviews`. A reviewer's latest verdict, by the moment that was signed, replaces the
    earlier ones; of two at one moment the one that does not approve counts. A verdict counts only while its key and
    its reviewer are on the roster, and for the roles that stand there now.
    """
    latest: dict[str, tuple[str, bool]] = {}
    for row in reviews:
        if str(row["model_version"]) != str(version) or row["weights_sha256"] != weights_sha256:
            continue
        reviewer = roster.by_pseudonym(row["reviewer"])
        if reviewer is None or row["public_key"] not in reviewer.keys:
            continue
        found = (row["signed_at"], row["decision"] != "approve")
        latest[reviewer.pseudonym] = max(found, latest.get(reviewer.pseudonym, found))
    approving = [
        reviewer for name in latest if not latest[name][1] and (reviewer := roster.by_pseudonym(name)) is not None
    ]
    by_role = {role: sorted(r.pseudonym for r in approving if role in r.roles) for role in ROLES}
    return {role: names for role, names in by_role.items() if names}

"""Why a verdict file is refused: a closed list, so that refusals are counted without showing what was in a file."""

from enum import StrEnum


class Refusal(StrEnum):
    """A reason, in the order in which they are looked for; the first that holds is given."""

    NOT_A_VERDICT = "not_a_verdict"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    ALTERED_COMMENTS = "altered_comments"
    OUT_OF_FORM = "out_of_form"
    UNKNOWN_SHEET = "unknown_sheet"
    OTHER_VERSION = "other_version"
    OTHER_WEIGHTS = "other_weights"
    INCOMPLETE = "incomplete"
    DATED_AHEAD = "dated_ahead"
    RECEIVED_BEFORE = "received_before"


MEANINGS: dict[Refusal, str] = {
    Refusal.NOT_A_VERDICT: "no verdict file, damaged, or too large: save it again with the button of the sheet",
    Refusal.UNKNOWN_KEY: "signed with a key that no reviewer has: put the reviewer's public key into the roster "
    "(MEDILLUS_REVIEWERS) if the reviewer confirms it, or sign with the key that is there",
    Refusal.BAD_SIGNATURE: "the signature does not belong to what is said: the file was changed or signed with another "
    "key; ask the reviewer for the file that the sheet saved",
    Refusal.ALTERED_COMMENTS: "the comments are not those that were signed: ask the reviewer for the original file",
    Refusal.OUT_OF_FORM: "signed, but with answers that the sheet does not offer: use the sheet as it was sent",
    Refusal.UNKNOWN_SHEET: "about a sheet that was never made here: materialize review_tasks and send its sheet",
    Refusal.OTHER_VERSION: "signed for another model version than its sheet shows: it counts for neither",
    Refusal.OTHER_WEIGHTS: "signed for other weights than its sheet shows: it counts for neither",
    Refusal.INCOMPLETE: "questions of the sheet are unanswered: answer them all and save again",
    Refusal.DATED_AHEAD: "signed at a moment that has not come yet: set the clock of the reviewer's machine and sign "
    "again, or a later verdict could never replace it",
    Refusal.RECEIVED_BEFORE: "the same verdict was received before and counts once",
}
"""Reason → what it means and what to do."""

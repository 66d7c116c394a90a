"""Content items of structured reports (PS3.3 C.17.3, C.18) that say who somebody is, and go with all below them.

Names, dates, UIDs and texts of the other items are treated attribute by attribute, like anywhere else.
"""

from medillus_pipeline.dicom.encoded import Elements, items_of, text_in

_CONCEPT_NAME, _CODE_VALUE, _CODING_SCHEME = 0x0040A043, 0x00080100, 0x00080102

SUBJECT_CONCEPTS = frozenset(
    (
        *("121023", "121024", "121025", "121026", "121027", "121028", "121029", "121030", "121031", "121033"),
        *("121036", "121008", "121009", "121010", "121011", "121012", "121013", "121014", "121015", "121017"),
        *("121106", "113870", "113871", "113873", "128774", "128775"),
    )
)
"""DCM codes (PS3.16 TID 1004 to 1010 and 1020) of a procedure's, subject's, observer's or device observer's identity:
names, ids, dates of birth, accession numbers, organisations, serial numbers; and of comments (121106)."""


def identifies_somebody(item: Elements) -> bool:
    """Whether the concept name of a content item is one of `SUBJECT_CONCEPTS`."""
    named = item.get(_CONCEPT_NAME)
    if named is None:
        return False
    try:
        codes = items_of(named)
    except ValueError:
        return True
    return any(
        text_in(code, _CODING_SCHEME) == "DCM" and text_in(code, _CODE_VALUE) in SUBJECT_CONCEPTS for code in codes
    )

"""Dates as people write them in free text: every reading that a row of figures allows."""

import re
from collections.abc import Iterator

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = "(?i:(" + "|".join(_MONTHS) + r")[a-z]*\.?)"
_SEPARATED = re.compile(r"(?<!\d)(\d{4}|\d{1,2})[-./ ](\d{1,2})[-./ ](\d{4}|\d{2})(?!\d)")
_TOGETHER = re.compile(r"(?<!\d)(\d{8})(?!\d)")
_DAY_FIRST = re.compile(rf"(?<!\d)(\d{{1,2}})[-. ]*{_NAME}[-., ]*(\d{{4}}|\d{{2}})(?!\d)")
_MONTH_FIRST = re.compile(rf"{_NAME}[-. ]*(\d{{1,2}})[-., ]+(\d{{4}}|\d{{2}})(?!\d)")

Date = tuple[int, int, int]
"""Year, month, day."""


def dates_written_in(text: str) -> Iterator[Date]:
    """All dates that stand in `text`, also glued to letters, in the orders Y-M-D, D-M-Y and M-D-Y, with the month in
    figures or in English, and the year in four figures or two. A date that can be read in two ways comes twice.
    """
    for whole in _TOGETHER.findall(text):
        yield from _valid((int(whole[:4]), int(whole[4:6]), int(whole[6:])))
        first, second, year = int(whole[:2]), int(whole[2:4]), int(whole[4:])
        yield from _valid((year, second, first), (year, first, second))
    for first, second, third in _SEPARATED.findall(text):
        if len(first) == 4:
            yield from _valid((int(first), int(second), int(third)))
            continue
        for year in _years(third):
            yield from _valid((year, int(second), int(first)), (year, int(first), int(second)))
    for day, month, year in _DAY_FIRST.findall(text):
        yield from _valid(*((y, _MONTHS.index(month.lower()) + 1, int(day)) for y in _years(year)))
    for month, day, year in _MONTH_FIRST.findall(text):
        yield from _valid(*((y, _MONTHS.index(month.lower()) + 1, int(day)) for y in _years(year)))


def _years(figures: str) -> tuple[int, ...]:
    return (int(figures),) if len(figures) == 4 else (1900 + int(figures), 2000 + int(figures))


def _valid(*dates: Date) -> Iterator[Date]:
    return (date for date in dates if 1 <= date[1] <= 12 and 1 <= date[2] <= 31)

"""How the items of a sentence stand to each other: sides, levels, sizes, absence.

    left, enlarged, no X     before a structure, English and Chinese: it and those joined to it by "and", 和, 、
    X absent, X 增大          after a structure: it and those joined before it
    "at the level of X"      X is no structure asked for, only a place
A word that finds nothing to belong to is not understood; nothing is guessed. What is not here: what the words mean
(`terms.py`), and the request that comes of it (`parser.py`).
"""

from collections.abc import Sequence

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.language.reading import Item
from medillus_pipeline.language.sizes import Reading, names_of, note_size
from medillus_pipeline.language.text_request import Level


def read_items(items: Sequence[Item], vocabulary: Vocabulary) -> Reading:
    """The sentence's structures, sizes, levels and pathologies. Every item that finds its place is `taken`."""
    reading = Reading()
    for item in items:
        if item.term("filler") and len(item.terms) == 1:
            item.take("filler")
    line = [item for item in items if not item.taken]
    _vertebrae(line)
    _sides(line, vocabulary)
    line = [item for item in line if not item.taken]
    for item in line:
        if item.ids == () and (term := item.term("structure")) and not item.term("pathology", "sequence"):
            item.ids = term.of_side("")
    _levels(line, reading)
    line = [item for item in line if not item.taken]
    _amounts_and_grades(line)
    _modifiers(line, reading, vocabulary)
    for item in line:
        if item.taken:
            continue
        if item.ids:
            reading.structures.extend(item.ids)
            item.take("structure", names_of(item.ids, vocabulary))
        elif pathology := item.term("pathology"):
            reading.pathologies.append(pathology.value)
            item.take("pathology", pathology.value)
        elif region := item.term("region"):
            reading.levels.append(Level(region=region.value))
            item.take("level", region.value)
        elif item.term("only"):
            reading.only = True
            item.take("only", "only")
        elif item.term("joiner", "break") or item.word in ("at", "through"):
            item.take("filler")
    return reading


def _vertebrae(line: list[Item]) -> None:
    """T1 and T2 beside MR are sequences, at a level vertebrae, and else not clear."""
    cues = ("level_before", "level_after")
    magnetic = any((term := item.term("modality")) and term.value == "MR" for item in line)
    for place, item in enumerate(line):
        if item.word not in ("t1", "t2"):
            continue
        if magnetic:
            item.take("sequence", item.word.upper())
        elif not any(other.term(*cues) for other in line[max(place - 1, 0) : place + 2]):
            item.kind, item.terms = "unknown", ()


def _sides(line: list[Item], vocabulary: Vocabulary) -> None:
    for place, item in enumerate(line):
        side = item.term("side")
        if side is None:
            continue
        follower = next((other for other in line[place + 1 :] if not other.term("size", "grade", "usual")), None)
        term = follower.term("structure") if follower else None
        if follower is None or term is None or follower.term("pathology"):
            continue
        own = _laterality(term.of_side(""), vocabulary)
        ids = term.of_side(side.value)
        if (side.value == "both" and term.of_side("left")) or own == side.value:
            ids = term.of_side("")
        if ids:
            follower.ids = ids
            item.take("side", side.value)


def _laterality(ids: tuple[int, ...], vocabulary: Vocabulary) -> str:
    return vocabulary.by_id(ids[0]).laterality if len(ids) == 1 else ""


def _levels(line: list[Item], reading: Reading) -> None:
    for place, item in enumerate(line):
        if item.taken:
            continue
        before = line[place - 1] if place else None
        after = line[place + 1] if place + 1 < len(line) else None
        numbered = after is not None and after.kind == "number"
        if (
            item.term("level_after")
            and not numbered
            and before is not None
            and not before.taken
            and (before.ids or _region(before))
        ):
            _place(_run_before(line, place) if before.ids else [before], reading)
            item.take("level", "level")
        elif item.term("level_before") and after is not None:
            if after.kind == "number" and 0 <= after.value <= 1:
                reading.levels.append(Level(value=after.value))
                after.take("level", f"{after.value:g}")
                item.take("level", "level")
            elif after.ids or _region(after):
                _place(_run_after(line, place) if after.ids else [after], reading)
                item.take("level", "level")
        elif item.ids and _is_code(item.word) and not (after and after.term("level_after")):
            _place([item], reading)


def _is_code(word: str) -> bool:
    """Whether a vertebra is named by its code alone, as places are: T12."""
    return word[0] in "ctls" and word[1:].isdigit()


def _region(item: Item) -> bool:
    return item.term("region") is not None


def _place(items: list[Item], reading: Reading) -> None:
    if term := items[0].term("region"):
        reading.levels.append(Level(region=term.value))
    else:
        reading.levels.append(Level(structures=tuple(dict.fromkeys(label for item in items for label in item.ids))))
    for item in items:
        item.take("level", item.word)


def _run_after(line: list[Item], place: int, *, again: bool = False) -> list[Item]:
    """The structures right after a place, and those joined to them; with `again` those of which something is said
    already.
    """
    return _run(line, place + 1, 1, again)


def _run_before(line: list[Item], place: int, *, again: bool = False) -> list[Item]:
    return _run(line, place - 1, -1, again)[::-1]


def _run(line: list[Item], place: int, step: int, again: bool) -> list[Item]:
    found: list[Item] = []
    while 0 <= place < len(line):
        item = line[place]
        beyond = line[place + step] if 0 <= place + step < len(line) else None
        joins = item.term("joiner") and found and beyond is not None and beyond.ids and (again or not beyond.taken)
        if item.ids and (not item.taken or (again and item.role == "structure")):
            found.append(item)
        elif not joins:
            break
        place += step
    return found


def _amounts_and_grades(line: list[Item]) -> None:
    """A grade or an amount beside a size word, and a length beside a structure, go with it."""
    for place, item in enumerate(line):
        if item.kind not in ("percent", "times", "length") and not item.term("grade"):
            continue
        beside = [line[other] for other in (place - 1, place + 1) if 0 <= other < len(line)]
        if item.term("grade"):
            beside.reverse()
        for other in beside:
            if other.term("size"):
                other.beside.append(item)
                item.take("amount" if item.kind != "term" else "size", item.word)
                break


def _modifiers(line: list[Item], reading: Reading, vocabulary: Vocabulary) -> None:
    for place, item in enumerate(line):
        if item.taken:
            continue
        if compound := item.term("compound"):
            ids = compound.of_side("")
            if compound.value == "absent":
                reading.absent.extend(ids)
            else:
                note_size(ids, item, reading, vocabulary)
                reading.structures.extend(ids)
            item.take("absence" if compound.value == "absent" else "size", names_of(ids, vocabulary))
        elif item.term("without", "absent"):
            _left_out(line, place, reading, vocabulary)
        elif item.term("size", "factor", "usual") or item.kind in ("length", "times"):
            targets = _targets(line, place)
            if not targets:
                continue
            ids = tuple(label for target in targets for label in target.ids)
            if len(targets) > 1:
                names = names_of(ids, vocabulary)
                chinese = "、".join(vocabulary.by_id(label).name_zh for label in ids)
                reading.notes.append((f"'{item.word}' is taken for {names}", f"“{item.word}”用于{chinese}"))
            note_size(ids, item, reading, vocabulary)
            reading.structures.extend(ids)
            for target in targets:
                target.take("structure", names_of(target.ids, vocabulary))
            item.take("size" if item.kind == "term" else "amount", item.word)


def _targets(line: list[Item], place: int) -> list[Item]:
    """The structures that a word beside them is about. Chinese says a size after, English before where it can."""
    item = line[place]
    ways = (_after, _before) if item.latin and item.kind == "term" else (_before, _after)
    return next((found for again in (False, True) for way in ways if (found := way(line, place, again))), [])


def _after(line: list[Item], place: int, again: bool) -> list[Item]:
    """The structures after a word, over what says how much, and over other words of the kind ("small and absent")."""
    passed = line[place].latin
    while place + 2 < len(line) and (
        line[place + 1].role in ("amount", "size")
        or (passed and line[place + 1].term("joiner") and line[place + 2].term("size", "absent"))
        or (passed and line[place].term("joiner") and line[place + 1].term("size", "absent"))
    ):
        place += 1
    return _run_after(line, place, again=again)


def _before(line: list[Item], place: int, again: bool) -> list[Item]:
    while place > 1 and line[place - 1].role in ("amount", "size"):
        place -= 1
    return _run_before(line, place, again=again)


def _left_out(line: list[Item], place: int, reading: Reading, vocabulary: Vocabulary) -> None:
    item = line[place]
    after = line[place + 1] if place + 1 < len(line) else None
    early, late = item.term("without") is not None, item.term("absent") is not None
    chosen: list[Item] = []
    for again in (False, True) if late else (False,):
        follows, precedes = _run_after(line, place, again=again), _run_before(line, place, again=again)
        chosen = chosen or (follows if early or item.latin else [])
        if late:
            chosen = chosen or precedes or follows
    if chosen:
        ids = tuple(label for one in chosen for label in one.ids)
        reading.absent.extend(ids)
        for one in chosen:
            one.take("structure", "no " + names_of(one.ids, vocabulary))
        item.take("absence", "absent")
    elif early and after is not None and not after.taken and after.term("pathology"):
        item.take("absence", "absent")
        for one in _pathologies_after(line, place):
            reading.absent_pathologies.append(_key(one))
            one.take("pathology", "no " + _key(one))
    elif early and after is not None and after.term("size") and (ends := _run_after(line, place + 1)):
        ids = tuple(label for one in ends for label in one.ids)
        reading.usual.extend(ids)
        reading.structures.extend(ids)
        for one in ends:
            one.take("structure", names_of(one.ids, vocabulary))
        after.take("size", "usual")
        item.take("absence", "not")


def _pathologies_after(line: list[Item], place: int) -> list[Item]:
    """The pathology right after a place, and those joined to it."""
    found: list[Item] = []
    for item in line[place + 1 :]:
        if item.term("pathology") and not item.taken:
            found.append(item)
        elif not item.term("joiner"):
            break
    return found


def _key(item: Item) -> str:
    term = item.term("pathology")
    return term.value if term else ""

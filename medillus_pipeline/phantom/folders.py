"""What people call the folders of a synthetic landing zone: each name gives somebody away."""

from medillus_pipeline.phantom.identities import Identity

PER_DELIVERY = 4


def delivery_names(people: list[Identity]) -> list[str]:
    """Folder names as people type them: every one names the first patient in it."""
    firsts = people[::PER_DELIVERY]
    return [f"CT export {number} {who.folder_name} and others" for number, who in enumerate(firsts, start=1)]


def batch_names(people: list[Identity]) -> dict[str, str]:
    """Folder of each kind of annotation batch: by its format, and `second` for the second reader's."""
    surname = people[0].folder_name.split("_")[0]
    return {
        "labelme": f"labelme Halvorsen {surname}",
        "rtstruct": "planning system Barrington",
        "nifti": "research volumes Yamanouchi",
        "second": f"second reading Pellegrino {surname}",
    }

"""The demo: synthetic patients (or the user's own files) through the whole flow, and the summary that ends it."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from medillus_pipeline import landings, published
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.phantom.keys import DEMO_KEY, DEMO_SALT
from medillus_pipeline.run_all import Flow, Say, run_all
from medillus_pipeline.settings import Settings, write_secret
from medillus_pipeline.tables import INSTANCES, LEDGER, MASK_ITEMS, MASKS, SLICES, STUDY_LABELS, TableStore
from medillus_pipeline.zones import Zone


def run_demo(
    settings: Settings, console: Console, *, images: Path | None, annotations: Path | None, patients: int
) -> Flow:
    """Fill landing, run the whole flow, print the summary. Raises InputError when nothing could be ingested."""
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {escape(text)}", soft_wrap=True)

    if not settings.landing.is_local:
        raise ConfigurationError("the demo writes its landing zone to this machine: unset MEDILLUS_LANDING_URL")
    if images is None:
        land_phantoms(settings, patients, say)
    else:
        landings.refuse_demo_home(settings)
        _land_own(settings.landing, "images", images, say)
        if annotations is not None:
            _land_own(settings.landing, "annotations", annotations, say)
    with local_instance(settings.home) as instance:
        flow = run_all(settings, instance, say=say)
    summarise(settings, flow, console, seconds=time.monotonic() - began)
    if not TableStore(settings.clean).keys(SLICES):
        raise InputError("no delivery could be published, so there is nothing to show; the failures above say why")
    if images is None and (flow.failures or published.current(settings.clean, "promoted_generator") is None):
        raise InputError("the demo did not reach its end; the failures above say why")
    return flow


def land_phantoms(settings: Settings, patients: int, say: Say) -> None:
    """Write the synthetic patients, with the public key; refused where another key is in use."""
    from medillus_pipeline.phantom.cohort import write_cohort

    for path, secret in ((settings.key_file, DEMO_KEY), (settings.split_salt_file, DEMO_SALT)):
        if not path.exists():
            write_secret(path, secret)
    pseudonymiser = settings.pseudonymiser()
    if pseudonymiser.key != DEMO_KEY:
        raise ConfigurationError(
            "this MEDILLUS_HOME has a key of its own, so real data may be in it: the demo needs a home of its own"
        )
    done = settings.work / f"phantoms-{patients}"
    if done.exists():
        say(f"{patients} synthetic patients are in landing already")
        return
    say(f"writing {patients} synthetic patients …")
    write_cohort(
        Path(settings.landing.full("")),
        pseudonymiser,
        patients=patients,
        labels=True,
        workers=settings.workers,
        progress=lambda ready, total: say(f"patients written: {ready} of {total}") if ready % 4 == 0 else None,
    )
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()


def _land_own(landing: Zone, kind: landings.Kind, folder: Path, say: Say) -> None:
    name = folder.resolve().name
    if name in landings.ready_folders(landing, kind):
        say(f"the folder of {kind} is in landing already")
        return
    count = landings.land_folder(landing, kind, folder, name=name)
    say(f"{count} files of {kind} landed")


def summarise(settings: Settings, flow: Flow, console: Console, *, seconds: float) -> None:
    """Counts per stage, gates, model and main figures, and where the report and the figures are."""
    clean = settings.clean
    tables = TableStore(clean)
    console.print()
    summary = RichTable("what", "result", title="medillus: summary", show_lines=False)
    vault = TableStore(settings.vault)
    delivered = [key for key in vault.keys(LEDGER) if key.startswith("images.")]
    files = Counter(row["reason"] or row["outcome"] for row in vault.read_all(LEDGER, delivered).to_pylist())
    summary.add_row("files delivered", _listed(files))
    for table in (INSTANCES, SLICES, MASKS):
        read = tables.read_all(table)
        patients = len(set(read["patient"].to_pylist()))
        places = f"{_counted(patients, 'patient')}, {_counted(len(tables.keys(table)), 'partition')}"
        summary.add_row(table.name, f"{read.num_rows} of {places}")
    labels = tables.read_all(STUDY_LABELS)
    summary.add_row("study labels", _listed(Counter(labels["kind"].to_pylist())) or "none")
    items = Counter(row["reason"] or row["outcome"] for row in tables.read_all(MASK_ITEMS).to_pylist())
    summary.add_row("annotated structures", _listed(items))
    gates = Counter((name, passed) for run in flow.runs for name, passed in run.checks.items())
    for name in sorted({name for name, _ in gates}):
        summary.add_row(f"check {name}", f"{gates[name, True]} passed, {gates[name, False]} not passed")
    checkpoint = published.current(clean, "generator_checkpoint")
    champion = published.current(clean, "promoted_generator")
    report = published.current(clean, "validation_report")
    if checkpoint:
        alias = "champion" if champion and champion["version"] == checkpoint["version"] else "challenger"
        summary.add_row("generator", f"medillus-generator version {checkpoint['version']}, alias {alias}")
    if report:
        from medillus_pipeline.validation.figures import KINDS, MAIN, display

        summary.add_row("verdict", report["sentence"])
        for key in MAIN:
            low, high = (report["figures"].get(f"{key}_{bound}") for bound in ("low", "high"))
            interval = f"  [{display(key, low)}, {display(key, high)}]" if low is not None else ""
            summary.add_row(KINDS[key].title, display(key, report["figures"].get(key)) + interval.replace("[", r"\["))
    for run in flow.runs:
        summary.add_row(f"time of {run.job}{f' {run.partition}' if run.partition else ''}", f"{run.seconds:.1f} s")
    summary.add_row("time in all", f"{seconds:.1f} s")
    console.print(summary)
    if report:
        console.print(f"report:  {escape(_place(clean, report['html']))}", soft_wrap=True)
    for folder in clean.files("published"):
        if folder.startswith("published/gallery-"):
            gallery = published.require(clean, folder.removeprefix("published/").removesuffix(".json"))
            console.print(f"figures: {escape(_place(clean, gallery['html']))}", soft_wrap=True)
    if flow.remark:
        for asset, url in ((asset, url) for run in flow.runs for asset, url in run.pictures.items()):
            console.print(f"{asset}: {escape(url.removeprefix('file://'))}", soft_wrap=True)
        console.print(f"[yellow]no training yet:[/] {escape(flow.remark)}", soft_wrap=True)
    for run in flow.failures:
        subject = f"{run.job} of {run.partition}" if run.partition else run.job
        console.print(f"[yellow]{subject}:[/] {escape(run.failure or '')}", soft_wrap=True)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


def _place(zone: Zone, path: str) -> str:
    return zone.full(path) if zone.is_local else f"{zone.url}/{path}"

"""Claims about structured reports and encapsulated documents: out by default, cleaned where they are asked for."""

import io
import shutil
import subprocess

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.documents import PDF_DOCUMENT, TEXT, replacement
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.residual import found_in
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
CLEANED = Policy(options=DEFAULT_OPTIONS | {Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_DESCRIPTORS})


def without_pixels(sop_class: str, modality: str) -> Dataset:
    made = image(SOPClassUID=sop_class, Modality=modality)
    for element in list(made):
        if element.tag.group in (0x0028, 0x7FE0):
            del made[element.tag]
    return made


def content(value_type: str, code: str, scheme: str = "DCM", **values: str) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = "CONTAINS", value_type
    made.ConceptNameCodeSequence = item(CodeValue=code, CodingSchemeDesignator=scheme, CodeMeaning="a concept")
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def report() -> bytes:
    made = without_pixels(BASIC_TEXT_SR, "SR")
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    made.ConceptNameCodeSequence = item(CodeValue="11528-7", CodingSchemeDesignator="LN", CodeMeaning="Report")
    made.VerifyingObserverSequence = item(VerifyingObserverName="Eschenbach^Wolfram", VerificationDateTime="20240131")
    nested = content("TEXT", "121071", TextValue="seen by Vogelweide in Burgdorf")
    nested.ContentSequence = Sequence([content("PNAME", "121008", PersonName="Hartmann^von Aue")])
    made.ContentSequence = Sequence(
        [
            content("TEXT", "121071", TextValue="Spleen enlarged, discussed with Frau Gottfried"),
            content("PNAME", "121029", PersonName="Vogelweide^Walther"),
            content("DATE", "121031", Date="19611224"),
            content("DATETIME", "111060", DateTime="20240131101500"),
            content("UIDREF", "121018", UID="1.2.826.0.1.99.1"),
            nested,
        ]
    )
    return encoded(made)


def test_a_report_is_left_out_unless_its_content_is_to_be_cleaned(pseudonymiser: Pseudonymiser) -> None:
    with pytest.raises(Quarantine) as caught:
        deidentify(report(), pseudonymiser)
    assert caught.value.reason is Reason.STRUCTURED_REPORT


def test_a_cleaned_report_keeps_its_structure_and_nobody_in_it(pseudonymiser: Pseudonymiser) -> None:
    made = deidentify(report(), pseudonymiser, policy=CLEANED)
    assert not found_in(made)
    for name in (b"Vogelweide", b"Eschenbach", b"Gottfried", b"Burgdorf", b"Hartmann", b"19611224", b"20240131"):
        assert name.lower() not in made.data.lower()
    found: FileDataset = dcmread(io.BytesIO(made.data))
    values = [entry.ValueType for entry in found.ContentSequence]
    assert values == ["TEXT", "DATETIME", "UIDREF", "TEXT"]
    first, moment, reference, nested = found.ContentSequence
    assert first.TextValue.lower().startswith("spleen")
    assert str(moment.DateTime).endswith("101500") and not str(moment.DateTime).startswith("2024")
    assert pseudonymiser.uid("1.2.826.0.1.99.1") == reference.UID
    assert len(nested.ContentSequence) == 0
    assert (made.row["rows"], made.row["columns"], made.row["frames"], made.row["pixel_hash"]) == (0, 0, 0, None)


@pytest.mark.parametrize(("sop_class", "start"), [(PDF_DOCUMENT, b"%PDF-"), (PDF_DOCUMENT[:-1] + "2", b"<?xml")])
def test_a_document_is_left_out_or_loses_its_content(
    sop_class: str, start: bytes, pseudonymiser: Pseudonymiser
) -> None:
    made = without_pixels(sop_class, "DOC")
    made.EncapsulatedDocument, made.EncapsulatedDocumentLength = b"%PDF-1.4 Vogelweide\x00", 20
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    with pytest.raises(Quarantine) as caught:
        deidentify(encoded(made), pseudonymiser)
    assert caught.value.reason is Reason.ENCAPSULATED_DOCUMENT
    found = dcmread(io.BytesIO(deidentify(encoded(made), pseudonymiser, policy=Policy(documents=True)).data))
    assert found.EncapsulatedDocument.startswith(start) and b"Vogelweide" not in found.EncapsulatedDocument
    assert found.EncapsulatedDocumentLength == len(replacement(sop_class))
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength] == replacement(sop_class)


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs poppler-utils")
def test_the_document_in_its_place_can_be_read() -> None:
    said = subprocess.run(["pdftotext", "-", "-"], input=replacement(PDF_DOCUMENT), capture_output=True, check=True)
    assert said.stdout.decode().strip() == TEXT and not said.stderr


def test_a_surface_of_a_body_is_no_document(pseudonymiser: Pseudonymiser) -> None:
    made = without_pixels("1.2.840.10008.5.1.4.1.1.104.3", "M3D")
    made.EncapsulatedDocument = b"solid\x00"
    with pytest.raises(Quarantine) as caught:
        deidentify(encoded(made), pseudonymiser, policy=Policy(documents=True))
    assert caught.value.reason is Reason.NOT_AN_IMAGE

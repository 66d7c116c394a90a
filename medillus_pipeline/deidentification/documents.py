"""What stands in place of an encapsulated document (PS3.3 A.45): nobody can tell what a PDF or CDA document says, so
its content is replaced as a whole by one that says so."""

PDF_DOCUMENT = "1.2.840.10008.5.1.4.1.1.104.1"
TEXT = "The document was removed by de-identification."


def replacement(sop_class_uid: str) -> bytes:
    """A valid document of one sentence: PDF for Encapsulated PDF Storage, else a CDA document."""
    if sop_class_uid == PDF_DOCUMENT:
        return _pdf()
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">'
        '<typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>'
        f"<component><nonXMLBody><text>{TEXT}</text></nonXMLBody></component></ClinicalDocument>\n"
    ).encode()


def _pdf() -> bytes:
    """One page with one line, in PDF 1.4 (ISO 32000-1 7.5)."""
    line = f"BT /F1 14 Tf 72 720 Td ({TEXT}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(line), line),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    written, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        starts.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    count = len(objects) + 1
    return written + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (count, table, count, len(written))
    )

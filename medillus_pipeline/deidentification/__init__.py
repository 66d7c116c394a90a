"""From identified DICOM files to de-identified ones (PS3.15 Annex E), and the proof that nothing was left."""

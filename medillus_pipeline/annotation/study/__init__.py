"""Labels of whole studies and series: pathology, stage, contrast phase."""

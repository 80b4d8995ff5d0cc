"""Reports: drawings and pages that become HTML and PDF from the same description."""

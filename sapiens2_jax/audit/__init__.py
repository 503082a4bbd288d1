"""Looks at a curation: a page to judge it by, thresholds from the marks."""

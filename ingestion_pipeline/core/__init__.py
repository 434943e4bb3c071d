"""Shared words: errors, clock, windows, ids, table declarations. No IO, no Dagster, nothing of one domain."""

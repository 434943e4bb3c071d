"""The seam out: every source of data behind a Protocol. Nothing here knows Dagster, PostgreSQL or the lake."""

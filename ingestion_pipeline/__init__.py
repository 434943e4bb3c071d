"""The ingestion pipeline: one Dagster code location over five ingestion systems."""

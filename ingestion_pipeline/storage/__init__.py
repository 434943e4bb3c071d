"""The seam down: PostgreSQL, the Delta lake, the compute engine, the cache. Nothing here knows Dagster or a domain."""

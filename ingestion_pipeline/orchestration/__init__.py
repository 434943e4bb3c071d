"""The seam up to Dagster: resources, partitions, table to asset metadata, failures. Nothing here knows a domain."""

"""The seam up to Dagster: resources, partitions, table to asset metadata, failures. Nothing here knows a domain."""

import warnings

import dagster as dg

# Parameters we rely on and pin (backfill_policy, allow_nonexistent_upstream_partitions) are marked beta in 1.13.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

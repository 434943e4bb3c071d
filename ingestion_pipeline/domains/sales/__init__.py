"""Author sales (seed S3): reports of four platforms as one ledger, payments beside it."""

"""The seam in: who may call over HTTP, how much, with what body, and how a refusal reads. No domain, no Dagster."""

"""`python -m ingestion_pipeline` is the `ingestion-pipeline` command."""

from ingestion_pipeline.cli import main

if __name__ == "__main__":
    main()

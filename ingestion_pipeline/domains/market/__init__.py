"""Market data (seed S1): bars, OHLC, snapshots, comparisons, ROI statistics."""

"""Warehouses that hold a copy of a lake table: BigQuery, Redshift. Which rows are copied when is the domain's."""

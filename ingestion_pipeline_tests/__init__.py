"""Mirrors the package. A package itself, so that two modules of one name (test_checks.py) can stand in two folders."""

"""The build entry point for tools that ask for it by name; everything is declared in pyproject.toml."""

from setuptools import setup

setup()

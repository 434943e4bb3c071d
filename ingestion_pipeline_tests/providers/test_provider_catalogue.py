"""INGESTION_PROVIDER chooses the provider, and nothing that was not chosen is imported."""

import subprocess
import sys
from typing import get_args

import pytest
from provider_fakes import InProcessBreaker

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.providers.catalogue import provider
from ingestion_pipeline.settings import Provider, Settings


@pytest.mark.parametrize("name", get_args(Provider))
def test_every_name_of_the_setting_has_a_provider(name, tmp_path):
    """A provider that can be set can be made."""
    settings = Settings.from_environment({"INGESTION_PROVIDER": name, "INGESTION_FILE_PATH": str(tmp_path)})
    assert provider(settings, breaker=InProcessBreaker()).name == name


def test_the_file_provider_without_a_folder_names_the_setting():
    """The message says what to set."""
    settings = Settings.from_environment({"INGESTION_PROVIDER": "file"}).model_copy(
        update={"ingestion_file_path": None}
    )
    with pytest.raises(ConfigurationError, match="INGESTION_FILE_PATH"):
        provider(settings, breaker=InProcessBreaker())


def test_the_choice_is_imported_late():
    """Importing the catalogue loads neither pandas nor any implementation."""
    code = (
        "import sys; import ingestion_pipeline.providers.catalogue;"
        "print(sorted({'pandas', 'pyarrow', 'ingestion_pipeline.providers.mock', 'ingestion_pipeline.providers.file',"
        "'ingestion_pipeline.providers.binance'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

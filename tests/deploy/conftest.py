"""One renderer for all tests of the chart."""

import pytest

from .charts import Charts, built


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return built(tmp_path_factory.mktemp("render"))

"""The rows of a table."""

import pytest

from configs.tables import TABLES, rows_for
from tests.scripts.reproduction.stand_ins import STREETS


@pytest.fixture
def arguments():
    """Of the rows that Streets can run: baseline, transfer, multi-task."""
    return [row.argument for row in rows_for(TABLES["transfer"], STREETS)]

"""Fixtures for the tests of reproduce_tables."""

import pytest

from configs.tables import TABLES, rows_for
from tests.scripts.reproduction.stand_ins import STREETS


@pytest.fixture
def arguments():
    """Arguments of the rows baseline, transfer and multi-task for Streets."""
    return [row.argument for row in rows_for(TABLES["transfer"], STREETS)]

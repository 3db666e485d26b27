"""Fixtures for the tests of reproduce_tables."""

import pytest
from sdeseg_jax.configs.tables import TABLES, rows_for

from tests.commands.reproduction.stand_ins import STREETS


@pytest.fixture
def arguments():
    """Arguments of the rows baseline, transfer and multi-task for Streets."""
    return [row.argument for row in rows_for(TABLES["transfer"], STREETS)]

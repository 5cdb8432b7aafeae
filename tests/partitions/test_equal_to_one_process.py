"""What is made and learned by partition equals what one process makes and learns."""

import pytest

from tests.partitions.random_tables import N_TABLES, check_case, random_case


@pytest.mark.parametrize("seed", range(N_TABLES or 40))
def test_random_tables(seed):
    case = random_case(seed, ties=bool(seed % 2))
    check_case(case, case.parts, case.statics, lambda table: table)

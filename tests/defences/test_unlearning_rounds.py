from __future__ import annotations

import pytest

from untrigger.defences.unlearning import leads


@pytest.mark.parametrize(("share", "expected"), [(0.0, []), (0.5, [1, 3, 5]), (1.0, [0, 1, 2, 3, 4, 5])])
def test_a_share_of_the_rounds_has_its_keys_at_the_beginnings(share, expected):
    assert [number for number in range(6) if leads(number, share)] == expected

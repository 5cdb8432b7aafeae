"""Names of columns that the library adds."""

import pytest

from sklearn_seqcrm._store import refuse_taken, unlike


def test_new_names_are_unique():
    assert unlike(["a", "b", "a"], ["b", "b_"]) == ["a", "b__", "a_"]
    assert unlike([], ["b"]) == []


def test_taken_names_are_refused():
    refuse_taken("row", ["path"], "The log", "row")
    message = r"The log has a column 'row' already; choose another name with row=\.\.\."
    with pytest.raises(ValueError, match=message):
        refuse_taken("row", ["row"], "The log", "row")

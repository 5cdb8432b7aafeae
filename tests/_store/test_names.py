"""Names of columns that the library adds."""

import pytest

from sklearn_seqcrm._store import check_name_free, unique_names


def test_new_names_are_unique():
    assert unique_names(["a", "b", "a"], ["b", "b_"]) == ["a", "b__", "a_"]
    assert unique_names([], ["b"]) == []


def test_taken_names_are_refused():
    check_name_free("row", ["path"], "The log", "row")
    message = r"The log has a column 'row' already; choose another name with row=\.\.\."
    with pytest.raises(ValueError, match=message):
        check_name_free("row", ["row"], "The log", "row")


@pytest.mark.parametrize("name", [0, ("a", "b"), None])
def test_names_are_text(name):
    with pytest.raises(TypeError, match="row must be text; got "):
        check_name_free(name, ["path"], "The log", "row")

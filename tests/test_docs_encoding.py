"""Run the page on encoding: pairs of words, and a hybrid with counts of words."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal


@pytest.fixture(scope="module")
def page(one_network, code_of):
    names = {"print": lambda *values: None}
    exec(compile(code_of("encoding.md"), "encoding.md", "exec"), names)
    return names


def test_layout_and_a_second_history(page):
    assert page["layout"].codes == ("category",)
    assert list(page["both"].columns[-1:]) == ["outcomes"]


def test_a_pair_has_the_word_before_it(page):
    """One code per pair, none across reviews, by the words alone."""
    words = page["words"]
    pairs, before = {}, ""
    for _, word, position, code in words.itertuples(index=False):
        before = before if position else ""
        assert pairs.setdefault((before, word), code) == code
        before = word
    assert len(set(pairs.values())) > 0.8 * len(pairs)  # few share a code
    assert words.loc[0, "pair"] == "588"  # in every session


def test_texts_are_joined_row_by_row(page):
    """Empty texts are kept, and texts are in the order of the rows."""
    reviews, texts = page["reviews"], np.array(page["texts"])
    rows = reviews.iloc[[3, 1, 3]]
    assert_array_equal(page["join_words"](rows), texts[[3, 1, 3]])
    nobody = page["reviews"]["history"].array.log.attach(
        pd.DataFrame({"review": [3, 5000]})
    )
    assert page["join_words"](nobody).tolist() == [texts[3], ""]


def test_both_are_as_good_as_either(page):
    later, praise = page["reviews"][800:], page["praise"][800:]
    scores = [one.score(later, praise) for one in page["models"].values()]
    assert scores[2] >= max(scores[:2]) - 0.02
    assert 0.1 < page["models"]["both"].weights_["lstm"] < 0.9

"""Run the page on bids: learn from random bids, then bid for a day."""


def test_page(code_of):
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    exec(compile(code_of("bidding.md"), "bidding.md", "exec"), names)
    rates = printed[0]
    assert (rates["estimated"] - rates["true"]).abs().max() < 0.05
    assert (rates["won auctions"] - rates["true"]).max() > 0.15
    assert 0.9 * 6 < names["pacer"].spent <= 6
    assert any(names["won"])

"""Run the page on the number of customers."""


def test_page(one_network, code_of):
    printed = []
    names = {"print": lambda *values: printed.append(values)}
    code = code_of("how_much_data.md")
    exec(compile(code, "how_much_data.md", "exec"), names)
    *curve, ((kept, in_sample, truth, predicted),) = printed
    assert [n for n, _ in curve][:2] == [200, 600]
    assert all(0.65 < auc < 0.9 for _, auc in curve)
    assert names["sample"]["customer_id"].is_unique
    assert 0.25 < kept < 0.5
    # Probabilities are those of all customers, not those of the sample.
    assert in_sample > 1.5 * truth
    assert abs(predicted - truth) < 0.5 * abs(in_sample - truth)

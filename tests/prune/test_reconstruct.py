from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lissom.prune.reconstruct import (  # noqa: E402
    Gram,
    LoneReader,
    Moments,
    Reader,
    best_fit,
    removal_order,
    solve,
)


def data(rows: int = 400, inputs: int = 8) -> torch.Tensor:
    """Correlated inputs with a mean."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=draw, dtype=torch.float64)
    return x @ torch.randn(inputs, inputs, generator=draw, dtype=torch.float64) + 0.7


@pytest.mark.parametrize("intercept", [True, False])
def test_the_fit_is_that_of_lstsq_on_all_rows(intercept: bool) -> None:
    x = data()
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = x @ weight.T + 0.3
    kept = x[:, [0, 2, 3, 6]]
    moments = Moments(4, 3)
    for rows in range(0, len(x), 64):
        moments.add(kept[rows : rows + 64], y[rows : rows + 64])
    found, constant = solve(moments, torch.zeros(3, 4), ridge=0.0, intercept=intercept)
    design = torch.cat([kept, torch.ones(len(x), 1, dtype=x.dtype)], 1) if intercept else kept
    right = torch.linalg.lstsq(design, y).solution.T
    torch.testing.assert_close(found, right[:, :4], rtol=1e-7, atol=1e-9)
    expected = right[:, 4] if intercept else torch.zeros(3, dtype=x.dtype)
    torch.testing.assert_close(constant, expected, rtol=1e-7, atol=1e-8)


def test_what_the_data_do_not_show_stays_as_it_was() -> None:
    x = torch.zeros(50, 2)
    x[:, 0] = torch.linspace(-1, 1, 50)
    moments = Moments(2, 1)
    moments.add(x, 3 * x[:, :1])
    found, _ = solve(moments, torch.tensor([[1.0, 5.0]]), ridge=1e-6, intercept=True)
    torch.testing.assert_close(found, torch.tensor([[3.0, 5.0]]).double(), rtol=1e-4, atol=1e-4)


def error(x: torch.Tensor, y: torch.Tensor, columns: list[int]) -> float:
    """Share of y's variance that no fit on these columns explains, by lstsq."""
    x, y = x - x.mean(0), y - y.mean(0)
    if not columns:
        return 1.0
    rest = y - x[:, columns] @ torch.linalg.lstsq(x[:, columns], y).solution
    return float(rest.square().sum() / y.square().sum())


def test_channels_go_in_the_order_of_what_refitting_without_them_loses() -> None:
    x = data()
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = x @ weight.T
    gram = Gram(8)
    for rows in range(0, len(x), 100):
        gram.add(x[rows : rows + 100])
    blocks = torch.arange(8).reshape(4, 2)
    reader = Reader.of(weight, gram.covariance(), blocks, ridge=0.0)
    order, costs = removal_order([reader], 4)

    def columns(channels: list[int]) -> list[int]:
        return [column for channel in channels for column in blocks[channel].tolist()]

    left, gone = [0, 1, 2, 3], 0.0
    for chosen, cost in zip(order, costs, strict=True):
        tried = {c: error(x, y, columns([k for k in left if k != c])) for c in left}
        assert chosen == min(tried, key=lambda c: tried[c])
        left.remove(chosen)
        assert tried[chosen] - gone == pytest.approx(cost, rel=1e-5, abs=1e-8)
        gone = tried[chosen]


def test_a_channel_that_repeats_another_goes_first_and_free() -> None:
    x = data(inputs=4)
    x[:, 3] = x[:, 1]
    gram = Gram(4)
    gram.add(x)
    weight = torch.ones(2, 4, dtype=torch.float64)
    reader = Reader.of(weight, gram.covariance(), torch.arange(4)[:, None], ridge=1e-9)
    order, costs = removal_order([reader], 4)
    assert order[0] in (1, 3)
    assert costs[0] == pytest.approx(0, abs=1e-5)


def test_a_layer_too_wide_to_solve_weighs_each_channel_alone() -> None:
    gram = Gram(3, diagonal=True)
    gram.add(torch.tensor([[1.0, 0.0, 2.0], [-1.0, 0.0, -2.0]]))
    reader = LoneReader.of(
        torch.tensor([[1.0, 9.0, 1.0]]), gram.covariance(), torch.arange(3)[:, None]
    )
    order, costs = removal_order([reader], 3)
    assert order == [1, 0, 2]
    assert costs == pytest.approx([0, 0.2, 0.8])


def test_the_error_is_that_of_all_rows() -> None:
    x, draw = data(), torch.Generator().manual_seed(2)
    y = torch.randn(len(x), 3, generator=draw, dtype=torch.float64) - 1
    weight = torch.randn(3, 8, generator=draw, dtype=torch.float64)
    constant = torch.randn(3, generator=draw, dtype=torch.float64)
    moments, rest = Moments(8, 3), Moments(8, 3)
    moments.add(x[:150], y[:150])
    rest.add(x[150:], y[150:])
    moments.take(rest)
    expected = (y - x @ weight.T - constant).square().sum(1).mean()
    assert moments.error(weight, constant) == pytest.approx(float(expected))


def test_a_fit_that_held_out_samples_gainsay_is_not_made() -> None:
    draw = torch.Generator().manual_seed(3)
    truth = torch.randn(2, 40, generator=draw, dtype=torch.float64)

    def fit(rows: int, noise: float) -> tuple[torch.Tensor, torch.Tensor] | None:
        used, held_out = Moments(40, 2), Moments(40, 2)
        for moments, count in ((used, rows), (held_out, 2000)):
            x = torch.randn(count, 40, generator=draw, dtype=torch.float64)
            extra = noise * torch.randn(count, 2, generator=draw, dtype=torch.float64)
            moments.add(x, x @ truth.T + extra)
        return best_fit(used, held_out, truth, torch.zeros(2), intercept=False)

    assert fit(30, 5.0) is None  # the prior was right; thirty noisy rows know less
    nowhere = torch.zeros(2, 40)
    used, held_out = Moments(40, 2), Moments(40, 2)
    for moments in (used, held_out):
        x = torch.randn(400, 40, generator=draw, dtype=torch.float64)
        moments.add(x, x @ truth.T)
    found = best_fit(used, held_out, nowhere, torch.zeros(2), intercept=False)
    assert found is not None
    torch.testing.assert_close(found[0], truth, rtol=1e-2, atol=1e-2)

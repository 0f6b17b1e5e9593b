"""Products with weights in blocks of oneDNN: the same numbers, whatever else is multiplied with them."""

import pytest
import torch

from agentflow.backend.diffusion.matrix import GatedMatrix, Matrix, round_rows


@pytest.fixture
def weight():
    """Some weights."""
    return torch.randn(96, 40, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def values():
    """Some rows."""
    return torch.randn(300, 40, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [0, 1, 3, 4, 31, 300])
def test_products_equal_those_of_plain_weights(weight, values, dtype, num_rows):
    """Few and many rows give what `torch.nn.functional.linear` gives."""
    weight, values = weight.to(dtype), values[:num_rows]
    expected = torch.nn.functional.linear(values.to(dtype), weight)

    for is_twofold in (False, True):
        found = Matrix(weight, is_twofold=is_twofold).multiply(values)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [0, 1, 3, 4, 31, 300])
def test_gates_equal_those_of_plain_weights(weight, values, dtype, num_rows):
    """Few and many rows give what product, activation and gate give one after the other."""
    weight, values = weight.to(dtype), values[:num_rows]
    gate, rest = torch.nn.functional.linear(values.to(dtype), weight).chunk(2, dim=-1)
    expected = torch.nn.functional.gelu(gate, approximate="tanh") * rest

    for is_twofold in (False, True):
        found = GatedMatrix(weight, is_twofold=is_twofold).multiply(values)
        assert found.dtype == dtype
        tolerance = {"rtol": 3e-2, "atol": 0.3} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-4}
        torch.testing.assert_close(found, expected, **tolerance)


def test_a_part_gives_some_of_the_outputs(weight, values):
    """The rows of a part are those of the whole."""
    matrix = Matrix(weight, is_twofold=True)
    found = matrix.part(slice(16, 48)).multiply(values)
    torch.testing.assert_close(found, matrix.multiply(values)[:, 16:48], rtol=1e-5, atol=1e-5)


def test_leading_dimensions_are_kept(weight, values):
    """Rows may stand in several dimensions."""
    matrix = Matrix(weight, is_twofold=True)

    assert torch.equal(matrix.multiply(values.view(3, 100, 40)).view(300, 96), matrix.multiply(values))


@pytest.mark.parametrize("kind", [Matrix, GatedMatrix])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_how_many_more_there_are(weight, values, dtype, kind):
    """From four rows on, bit for bit."""
    matrix = kind(weight.to(dtype), is_twofold=True)
    if matrix._blocks is None or matrix._blocks == []:
        pytest.skip(f"no products of {dtype} in blocks of oneDNN here")
    together = matrix.multiply(values)

    for first, last in ((0, 4), (7, 20), (0, 64), (30, 95), (100, 300)):
        assert torch.equal(matrix.multiply(values[first:last]), together[first:last])


def test_numbers_of_rows_recur():
    """Few rows stay as they are, and many become few different numbers, not much larger."""
    rounded = [round_rows(number) for number in range(2000)]

    assert rounded[:4] == [0, 1, 2, 3]
    assert all(0 <= rounded[number] - number < max(4, number / 4) for number in range(2000))
    assert all(round_rows(number) == number for number in rounded)
    assert len(set(rounded)) <= 50

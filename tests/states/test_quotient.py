"""The loop over the padded grid against plain torch."""

import torch

from covaria.estimation.states.estimates import plain_quotient_of, quotient_of


def test_the_cpu_loop_equals_plain_torch():
    sums = torch.rand((24, 24, 12, 3), generator=torch.Generator().manual_seed(0)) - 0.1
    sums[:, :, 4:6] = 0  # seen by nobody
    sums[..., 2].clamp_(min=0)
    plain = plain_quotient_of(sums)
    torch.testing.assert_close(quotient_of(sums), plain, rtol=1e-5, atol=1e-6)
    assert (plain[0, 0] == 0).all()
    assert (plain[12, 12, 1] != 0).all()
    assert (quotient_of(torch.zeros_like(sums)) == 0).all()

"""Whatever the draft, the tokens follow the target: counted over 200,000 seeded trials, and by hand at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from samplers import SamplerConfig, next_token_probs
from samplers.sequence.speculative import Acceptance, accept_draft

TRIALS = 200_000
TARGET = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
DIFFERENT = torch.tensor([0.1, 0.2, 0.1, 0.2, 0.3, 0.1])
DISJOINT = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.25, 0.75])


def draw_tokens(probs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One token for each row of `probs [B, V]`."""
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


def draw_uniforms(rows: int, count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(rows, count, generator=generator, dtype=torch.float64)


def chi_square_999(freedom: int) -> float:
    """A right sampler stays below in 999 of 1,000 seeds (Wilson and Hilferty 1931; 16.27 at 3, 66.6 at 35)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3


def assert_follows(tokens: torch.Tensor, probs: torch.Tensor) -> None:
    """Pearson's goodness of fit over the possible tokens; impossible ones never occur."""
    seen = torch.bincount(tokens, minlength=len(probs)).double()
    expected = probs.double() * len(tokens)
    possible = probs > 0
    assert len(seen) == len(probs)
    assert not seen[~possible].any()
    assert expected[possible].min() >= 5
    statistic = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    assert float(statistic) < chi_square_999(int(possible.sum()) - 1)


def one_token_drafts(draft: torch.Tensor, target: torch.Tensor, seed: int = 1) -> Acceptance:
    generator = torch.Generator().manual_seed(seed)
    q = draft.expand(TRIALS, 1, -1)
    return accept_draft(
        q, target.expand(TRIALS, 2, -1), draw_tokens(q[:, 0], generator)[:, None], draw_uniforms(TRIALS, 2, generator)
    )


@pytest.mark.parametrize("draft", [TARGET, DIFFERENT, DISJOINT], ids=["identical", "different", "disjoint"])
def test_the_first_token_follows_the_target(draft):
    accepted, tokens = one_token_drafts(draft, TARGET)
    assert_follows(tokens[:, 0], TARGET)
    share = float(torch.minimum(draft, TARGET).sum())  # Leviathan et al., theorem 3.5
    deviation = math.sqrt(share * (1 - share) / TRIALS)
    assert float(accepted.double().mean()) == pytest.approx(share, abs=4 * deviation + 1e-9)
    assert ((tokens[:, 1] >= 0) == (accepted == 1)).all()


def test_the_token_after_an_accepted_draft_follows_the_target():
    accepted, tokens = one_token_drafts(DIFFERENT, TARGET)
    assert_follows(tokens[accepted == 1, 1], TARGET)


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_two_tokens_together_follow_the_target(top_p):
    """A language of two steps, where the second token's distribution depends on the first. Where the draft's first
    token is rejected only one comes out, and a second round from there gives the next."""
    generator = torch.Generator().manual_seed(8)
    config = SamplerConfig(top_p=top_p)

    def language() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = 1.2 * torch.randn(1 + 6 + 36, 6, generator=generator)
        probs = next_token_probs(logits, [config] * 43)
        return probs[0], probs[1:7], probs[7:].view(6, 6, 6)

    (q1, q2, _), (p1, p2, p3) = language(), language()
    first = draw_tokens(q1.expand(TRIALS, -1), generator)
    second = draw_tokens(q2[first], generator)
    accepted, tokens = accept_draft(
        torch.stack([q1.expand(TRIALS, -1), q2[first]], 1),
        torch.stack([p1.expand(TRIALS, -1), p2[first], p3[first, second]], 1),
        torch.stack([first, second], 1),
        draw_uniforms(TRIALS, 3, generator),
    )
    assert set(accepted.tolist()) == {0, 1, 2}
    assert ((tokens >= 0).sum(-1) == accepted + 1).all()
    start = tokens[:, 0]
    again = draw_tokens(q2[start], generator)
    more = accept_draft(
        q2[start][:, None],
        torch.stack([p2[start], p3[start, again]], 1),
        again[:, None],
        draw_uniforms(TRIALS, 2, generator),
    )
    following = torch.where(accepted > 0, tokens[:, 1], more.tokens[:, 0])
    joint = (p1[:, None] * p2).flatten()
    assert bool((joint == 0).any()) == (top_p < 1)
    assert_follows(start, p1)
    assert_follows(start * 6 + following, joint)


def test_a_token_is_accepted_while_the_uniform_lies_below_the_ratio():
    draft = torch.tensor([0.5, 0.5, 0.0])
    target = torch.tensor([0.125, 0.375, 0.5])
    just_below, at = 0.25 - 1e-12, 0.25
    us = torch.tensor([[just_below, 0.0], [at, 0.0]], dtype=torch.float64)
    accepted, tokens = accept_draft(
        draft.expand(2, 1, -1), target.expand(2, 2, -1), torch.zeros(2, 1, dtype=torch.int64), us
    )
    assert accepted.tolist() == [1, 0]
    assert tokens.tolist() == [[0, 0], [2, -1]]  # the residual holds token 2 alone


def test_nothing_is_accepted_after_the_first_rejection():
    """Rejected, would be accepted, would be accepted: one token comes out."""
    sure = torch.tensor([1.0, 0.0])
    draft = torch.stack([sure, sure, sure])[None]
    target = torch.stack([sure.flip(0), sure, sure, sure])[None]
    accepted, tokens = accept_draft(draft, target, torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 4), 0.5))
    assert accepted.tolist() == [0]
    assert tokens.tolist() == [[1, -1, -1, -1]]


def test_the_last_uniform_draws_the_extra_token():
    target = torch.tensor([0.25, 0.25, 0.5])
    us = torch.tensor([0.0, 0.24, 0.25, 0.49, 0.5, 0.99], dtype=torch.float64)
    empty = torch.zeros(6, 0, 3)
    accepted, tokens = accept_draft(empty, target.expand(6, 1, -1), torch.zeros(6, 0, dtype=torch.int64), us[:, None])
    assert accepted.tolist() == [0] * 6
    assert tokens[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_draw_never_takes_an_impossible_token(dtype):
    generator = torch.Generator().manual_seed(5)
    probs = torch.rand(500, 200, generator=generator, dtype=dtype) ** 8
    probs[torch.rand(500, 200, generator=generator) < 0.5] = 0
    probs[:, :3] = probs[:, -3:] = 0
    probs /= probs.sum(-1, keepdim=True)
    largest = torch.nextafter(torch.tensor(1.0, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    for u in (torch.tensor(0.0, dtype=dtype), largest):
        _, tokens = accept_draft(
            probs[:, :0, None].expand(500, 0, 200),
            probs[:, None],
            torch.zeros(500, 0, dtype=torch.int64),
            u.expand(500, 1),
        )
        assert (probs.gather(-1, tokens) > 0).all()


def test_a_draft_equal_to_the_target_is_always_accepted():
    probs = torch.rand(1000, 4, 50, generator=torch.Generator().manual_seed(3)).softmax(-1)
    tokens = draw_tokens(probs[:, :3].flatten(0, 1), torch.Generator().manual_seed(4)).view(1000, 3)
    largest = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).expand(1000, 4)
    accepted, out = accept_draft(probs[:, :3], probs, tokens, largest)
    assert (accepted == 3).all()
    assert torch.equal(out[:, :3], tokens)


def test_rounding_alone_rejects_nothing():
    """The target lies a rounding error below the draft everywhere, so there is no residual to draw from."""
    draft = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    target = draft * (1 - 1e-9)
    us = torch.tensor([[1 - 1e-12, 0.5]], dtype=torch.float64)
    accepted, tokens = accept_draft(draft[None, None], target.expand(1, 2, -1), torch.tensor([[0]]), us)
    assert accepted.tolist() == [1]
    assert tokens.tolist() == [[0, 1]]


def test_a_token_impossible_in_the_target_is_rejected_even_without_a_residual():
    draft = torch.tensor([0.5, 0.5 - 1e-9, 1e-9], dtype=torch.float64)
    target = torch.tensor([0.5, 0.5 - 1e-9, 0.0], dtype=torch.float64)
    accepted, tokens = accept_draft(
        draft[None, None], target.expand(1, 2, -1), torch.tensor([[2]]), torch.tensor([[0.0, 0.7]])
    )
    assert accepted.tolist() == [0]
    assert tokens.tolist() == [[1, -1]]  # drawn from the target itself


def test_a_rows_residual_is_its_own():
    """A rejected token 0 leaves token 1 in one row and token 2 in the other, alone and together."""
    draft = torch.tensor([[[0.8, 0.1, 0.1]]]).expand(2, -1, -1)
    target = torch.tensor([[0.4, 0.5, 0.1], [0.4, 0.1, 0.5]])[:, None].expand(2, 2, -1)
    proposed, us = torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[0.9, 0.1]]).expand(2, -1)
    together = accept_draft(draft, target, proposed, us).tokens.tolist()
    alone = [accept_draft(draft[r : r + 1], target[r : r + 1], proposed[:1], us[:1]).tokens[0].tolist() for r in (0, 1)]
    assert together == alone == [[1, -1], [2, -1]]


def test_inputs_stay_as_they_were():
    q, p = DIFFERENT.expand(2, 1, -1).clone(), TARGET.expand(2, 2, -1).clone()
    tokens, us = torch.tensor([[0], [4]]), torch.full((2, 2), 0.5)
    before = [tensor.clone() for tensor in (q, p, tokens, us)]
    accept_draft(q, p, tokens, us)
    assert all(torch.equal(a, b) for a, b in zip(before, (q, p, tokens, us), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draft_probs": DIFFERENT[None]}, r"draft_probs has shape \(1, 6\): expected \[B, K, V\]"),
        ({"target_probs": TARGET.expand(1, 1, -1)}, r"target_probs has shape \(1, 1, 6\): expected \[1, 2, 6\]"),
        ({"draft_tokens": torch.tensor([1])}, r"draft_tokens has shape \(1,\): expected \[1, 1\]"),
        ({"uniforms": torch.zeros(1, 1)}, r"uniforms has shape \(1, 1\): expected \[1, 2\]"),
        ({"draft_probs": DIFFERENT[None, None] * 2}, "draft_probs has a row that is no distribution"),
        ({"target_probs": TARGET.expand(1, 2, -1) / 2}, "target_probs has a row that is no distribution"),
        ({"target_probs": torch.full((1, 2, 6), math.nan)}, "target_probs has a row that is no distribution"),
        ({"draft_probs": torch.tensor([[[1.5, -0.5, 0, 0, 0, 0]]])}, "expected numbers of at least 0"),
        ({"uniforms": torch.tensor([[0.5, 1.0]])}, r"uniforms has a number outside \[0, 1\)"),
        ({"uniforms": torch.tensor([[-0.1, 0.5]])}, r"uniforms has a number outside \[0, 1\)"),
        ({"draft_tokens": torch.tensor([[6]])}, r"expected whole numbers in \[0, 6\)"),
        ({"draft_tokens": torch.tensor([[-1]])}, r"expected whole numbers in \[0, 6\)"),
        ({"draft_tokens": torch.tensor([[1.0]])}, r"expected whole numbers in \[0, 6\)"),
        (
            {"draft_probs": DISJOINT[None, None]},
            r"draft_tokens\[0, 0\]=1: expected a token with draft probability above 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {
        "draft_probs": DIFFERENT[None, None],
        "target_probs": TARGET.expand(1, 2, -1),
        "draft_tokens": torch.tensor([[1]]),
        "uniforms": torch.tensor([[0.5, 0.5]]),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        accept_draft(**given)

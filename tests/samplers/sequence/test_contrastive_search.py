"""Contrastive search's choice, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from samplers.sequence.contrastive_search import contrastive_choice

PROBS = torch.tensor([[0.6, 0.3, 0.1]])
# three candidates: along the context's first state, at 45 degrees to it, against it
CANDIDATES = torch.tensor([[[2.0, 0.0], [1.0, 1.0], [-3.0, 0.0]]])
CONTEXT = torch.tensor([[[5.0, 0.0], [0.0, -1.0]]])
DIAGONAL = math.sqrt(0.5)


def random_case(rows: int = 4, k: int = 5, context: int = 7, width: int = 8):
    generator = torch.Generator().manual_seed(6)
    probs = torch.rand(rows, k, generator=generator)
    return (
        probs / probs.sum(-1, keepdim=True),
        torch.randn(rows, k, width, generator=generator),
        torch.randn(rows, context, width, generator=generator),
    )


def test_scores_by_hand():
    choice = contrastive_choice(PROBS, CANDIDATES, CONTEXT, 0.25)
    # the third looks away from the first state and stands square to the second
    assert choice.penalty[0].tolist() == pytest.approx([1, DIAGONAL, 0], abs=1e-6)
    expected = [0.75 * 0.6 - 0.25, 0.75 * 0.3 - 0.25 * DIAGONAL, 0.75 * 0.1]
    assert choice.score[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(choice.probability, PROBS)
    assert choice.chosen.tolist() == [0]


@pytest.mark.parametrize(("alpha", "chosen"), [(0.0, 0), (0.25, 0), (0.5, 2), (1.0, 2)])
def test_a_larger_alpha_gives_up_probability_for_novelty(alpha, chosen):
    assert contrastive_choice(PROBS, CANDIDATES, CONTEXT, alpha).chosen.tolist() == [chosen]


def test_the_nearest_state_of_the_context_counts():
    behind = torch.tensor([[[5.0, 0.0], [-1.0, 0.0]]])
    choice = contrastive_choice(PROBS, CANDIDATES, behind, 0.5)
    assert choice.penalty[0].tolist() == pytest.approx([1, DIAGONAL, 1], abs=1e-6)


def test_alpha_zero_is_greedy():
    probs, candidates, context = random_case()
    assert torch.equal(contrastive_choice(probs, candidates, context, 0).chosen, probs.argmax(-1))


def test_rows_equal_a_loop_over_the_definition():
    probs, candidates, context = random_case()
    alphas = torch.tensor([0.0, 0.3, 0.6, 1.0])
    choice = contrastive_choice(probs, candidates, context, alphas)
    for row, alpha in enumerate(alphas.tolist()):
        scores = [
            (1 - alpha) * probs[row, v].item()
            - alpha * max(torch.cosine_similarity(candidates[row, v], h, dim=0).item() for h in context[row])
            for v in range(5)
        ]
        assert choice.score[row].tolist() == pytest.approx(scores, abs=1e-6)
        assert choice.chosen[row] == scores.index(max(scores))


def test_padding_has_no_say_whatever_it_holds():
    probs, candidates, context = random_case()
    alone = contrastive_choice(probs, candidates, context, 0.6)
    junk = torch.full((4, 3, 8), math.nan)
    junk[:, 1] = candidates[:, 0]  # would cost the first candidate everything
    mask = torch.tensor([[False] * 3 + [True] * 7] * 4)
    padded = contrastive_choice(probs, candidates, torch.cat([junk, context], 1), 0.6, mask)
    assert torch.allclose(padded.score, alone.score, atol=1e-6)
    assert torch.equal(padded.chosen, alone.chosen)


def test_ties_go_to_the_lowest_index():
    same = torch.ones(1, 3, 2)
    assert contrastive_choice(torch.full((1, 3), 0.2), same, CONTEXT, 0.5).chosen.tolist() == [0]
    assert contrastive_choice(torch.tensor([[0.1, 0.2, 0.2]]), same, CONTEXT, 0.5).chosen.tolist() == [1]


def test_states_of_zeros_resemble_nothing():
    choice = contrastive_choice(PROBS, torch.zeros(1, 3, 2), CONTEXT, 0.5)
    assert choice.penalty.tolist() == [[0, 0, 0]]
    assert contrastive_choice(PROBS, CANDIDATES, torch.zeros(1, 2, 2), 0.5).penalty.tolist() == [[0, 0, 0]]


def test_a_candidate_that_the_sampler_excluded_is_never_chosen():
    choice = contrastive_choice(torch.tensor([[0.6, 0.4, 0.0]]), CANDIDATES, CONTEXT, 1.0)
    assert choice.chosen.tolist() == [1]
    assert choice.score[0, 2] == -math.inf


def test_half_precision_is_computed_in_single():
    probs, candidates, context = random_case()
    choice = contrastive_choice(probs, candidates.bfloat16(), context.bfloat16(), 0.6)
    assert choice.score.dtype == torch.float32
    exact = contrastive_choice(probs, candidates.bfloat16().float(), context.bfloat16().float(), 0.6)
    assert torch.equal(choice.score, exact.score)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": torch.ones(3)}, r"probs has shape \(3,\): expected \[B, k\]"),
        ({"probs": torch.ones(1, 0)}, "at least one candidate"),
        ({"probs": torch.tensor([[0.5, math.nan, 0.5]])}, r"probs has an impossible row: expected numbers in \[0, 1\]"),
        ({"probs": torch.tensor([[0.5, 1.5, 0.5]])}, r"expected numbers in \[0, 1\]"),
        ({"probs": torch.zeros(1, 3)}, "one of them above 0"),
        ({"candidate_states": torch.ones(1, 2, 2)}, r"candidate_states has shape \(1, 2, 2\): expected \[1, 3, d\]"),
        ({"context_states": torch.ones(1, 2, 3)}, r"context_states has shape \(1, 2, 3\): expected \[1, T, 2\]"),
        ({"context_states": torch.ones(1, 0, 2)}, "T above 0"),
        ({"context_states": torch.full((1, 2, 2), math.nan)}, "hidden states of row 0 have NaN or inf"),
        ({"alpha": 1.1}, r"alpha=1.1\d*: expected a number of at least 0 and at most 1"),
        ({"alpha": -0.5}, "alpha=-0.5: expected"),
        ({"alpha": math.nan}, "alpha=nan: expected"),
        ({"alpha": torch.tensor([0.1, 0.2])}, "or 1 of them"),
        ({"context_mask": torch.tensor([[True]])}, r"context_mask is torch.bool \(1, 1\): expected bool \[1, 2\]"),
        ({"context_mask": torch.tensor([[1, 1]])}, "context_mask is torch.int64"),
        ({"context_mask": torch.tensor([[False, False]])}, "expected at least one token of context"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"probs": PROBS, "candidate_states": CANDIDATES, "context_states": CONTEXT, "alpha": 0.5, **change}
    with pytest.raises(ValueError, match=message):
        contrastive_choice(**given)

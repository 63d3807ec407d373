"""Beam search against transformers' own, diverse beam search against a plain reference, and the tree of both."""

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import asdict

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from samplers.sequence.beam_search import BeamNode, BeamSearch

VOCAB, PAD, LENGTH = 24, 1, 9


@functools.lru_cache
def model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return LlamaForCausalLM(config).eval()


@torch.no_grad()
def run_search(prompt: list[int], beams: int, **settings) -> BeamSearch:
    """A search over the model with a cache, as an engine would run it."""
    search = BeamSearch(beams, max_new_tokens=LENGTH, **settings)
    cache = DynamicCache(config=model().config)
    ids = torch.tensor([prompt])
    while True:
        logits = model()(ids, cache=cache).logits[:, -1]
        step = search.step(logits.log_softmax(-1))
        if search.done:
            return search
        cache.reorder_cache(step.parents)
        ids = step.tokens[:, None]


def random_table(seed: int, scale: float = 1.0, vocab: int = 5) -> torch.Tensor:
    """A language in which a token depends on the one before it: log-probabilities `[vocab, vocab]`. Token 0 starts."""
    return (scale * torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def search_table(logprobs: torch.Tensor, beams: int, **settings) -> BeamSearch:
    search = BeamSearch(beams, **settings)
    last = torch.tensor([0])
    while not search.done:
        last = search.step(logprobs[last]).tokens
    return search


def assert_equal_to_generate(prompt: list[int], beams: int, end_ids: tuple[int, ...], **settings) -> None:
    """The same sequences with the same scores after the same number of steps."""
    search = run_search(prompt, beams, end_ids=end_ids, **settings)
    out = model().generate(
        torch.tensor([prompt]),
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=LENGTH,
        eos_token_id=list(end_ids) or None,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    longest = out.sequences.shape[1] - len(prompt)
    padded = [[*found.tokens, *[PAD] * (longest - len(found.tokens))] for found in search.finished]
    assert padded == out.sequences[:, len(prompt) :].tolist()
    scores = [found.score for found in search.finished]
    assert scores == pytest.approx(out.sequences_scores.tolist(), rel=1e-6, abs=1e-6)
    assert 1 + max(node.step for node in search.tree.nodes) == len(out.scores)


@pytest.mark.parametrize("end_ids", [(20,), (8, 21), (7, 20, 23)], ids=["one end", "two ends", "three ends"])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [-1.0, 1.0, 2.5])
def test_equal_to_transformers(end_ids, early_stopping, length_penalty):
    settings = {"early_stopping": early_stopping, "length_penalty": length_penalty}
    for beams, prompt in ((2, [3, 8]), (3, [7, 11, 19, 4]), (5, [22, 3, 3])):
        assert_equal_to_generate(prompt, beams, end_ids, **settings)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_equal_to_transformers_without_an_end(length_penalty):
    assert_equal_to_generate([3, 8], 4, (), length_penalty=length_penalty)


def test_one_beam_is_greedy():
    greedy = model().generate(torch.tensor([[3, 8]]), do_sample=False, max_new_tokens=LENGTH, eos_token_id=None)
    (found,) = run_search([3, 8], 1).finished
    assert list(found.tokens) == greedy[0, 2:].tolist()


def test_wide_enough_it_finds_the_best_of_all_sequences():
    logprobs = random_table(3, vocab=4)
    totals = {
        tokens: sum(float(logprobs[a, b]) for a, b in itertools.pairwise((0, *tokens)))
        for tokens in itertools.product(range(4), repeat=4)
    }
    found = search_table(logprobs, 64, max_new_tokens=4, length_penalty=0).finished
    assert len({hypothesis.tokens for hypothesis in found}) == 64
    assert [totals[hypothesis.tokens] for hypothesis in found] == pytest.approx(sorted(totals.values())[:-65:-1])
    assert [hypothesis.score for hypothesis in found] == pytest.approx(sorted(totals.values())[:-65:-1])


def plain_diverse_search(logprobs, width, groups, penalty, steps, end):
    """Diverse beam search with plain lists: `(tokens, score)` of what each group finished, stopping when it is full."""
    live = [[((), 0.0)] for _ in range(groups)]
    finished = [[] for _ in range(groups)]
    for step in range(steps):
        earlier = []
        for group in range(groups):
            extended = []
            for beam, (tokens, score) in enumerate(live[group]):
                for token in range(len(logprobs)):
                    last = tokens[-1] if tokens else 0
                    total = score + float(logprobs[last, token]) - penalty * earlier.count(token)
                    extended.append((-total, beam, token, tokens))
            extended.sort()
            going_on, chosen = [], []
            for rank, (loss, _, token, tokens) in enumerate(extended):
                if token == end or step + 1 == steps:
                    if rank < width:
                        finished[group].append(((*tokens, token), -loss))
                        chosen.append(token)
                elif len(going_on) < width:
                    going_on.append(((*tokens, token), -loss))
                    chosen.append(token)
            earlier += [token for token in chosen if token != end]
            live[group] = going_on if len(finished[group]) < width else []
    best = [sorted(ended, key=lambda pair: -pair[1])[:width] for ended in finished]
    return sorted(itertools.chain(*best), key=lambda pair: -pair[1])


@pytest.mark.parametrize(("beams", "groups"), [(2, 2), (4, 2), (6, 3), (4, 1), (4, 4)])
@pytest.mark.parametrize("penalty", [0.0, 0.3, 2.0])
def test_diverse_search_equals_plain_lists(beams, groups, penalty):
    for seed, end in itertools.product(range(4), (2, None)):
        logprobs = random_table(seed).double()
        expected = plain_diverse_search(logprobs, beams // groups, groups, penalty, 5, end)
        search = search_table(
            logprobs,
            beams,
            max_new_tokens=5,
            end_ids=() if end is None else (end,),
            groups=groups,
            diversity_penalty=penalty,
            length_penalty=0,
            early_stopping=True,
        )
        assert [found.tokens for found in search.finished] == [tokens for tokens, _ in expected]
        assert [found.score for found in search.finished] == pytest.approx([score for _, score in expected])


def test_a_penalty_of_zero_makes_every_group_a_plain_search():
    plain = search_table(random_table(1), 2, max_new_tokens=4).finished
    grouped = search_table(random_table(1), 6, groups=3, max_new_tokens=4).finished
    for group in range(3):
        mine = [(found.tokens, found.score) for found in grouped if found.group == group]
        assert mine == [(found.tokens, found.score) for found in plain]


def test_one_group_pays_no_penalty():
    plain = search_table(random_table(1), 4, max_new_tokens=4)
    assert search_table(random_table(1), 4, diversity_penalty=5.0, max_new_tokens=4).tree == plain.tree


@pytest.mark.parametrize(
    ("penalty", "token", "score"),
    [(0.4, 0, math.log(0.5) - 0.4), (0.6, 1, math.log(0.3)), (9.0, 1, math.log(0.3))],
)
def test_the_second_group_gives_way_when_the_penalty_is_worth_it(penalty, token, score):
    """log 0.5 - log 0.3 = 0.511: a smaller penalty leaves both groups at token 0."""
    search = BeamSearch(2, groups=2, diversity_penalty=penalty, max_new_tokens=1)
    search.step(torch.tensor([[0.5, 0.3, 0.2]]).log())
    first, second = sorted(search.finished, key=lambda found: found.group)
    assert (first.tokens, first.score) == ((0,), pytest.approx(math.log(0.5)))
    assert (second.tokens, second.score) == ((token,), pytest.approx(score))
    assert second.logprob == pytest.approx(math.log([0.5, 0.3][token]))  # as the model gave it


def test_each_earlier_choice_costs_once_more():
    """The third group pays twice for a token that both others took."""
    search = BeamSearch(3, groups=3, diversity_penalty=0.3, max_new_tokens=1)
    search.step(torch.tensor([[0.5, 0.3, 0.2]]).log())
    assert [found.tokens for found in sorted(search.finished, key=lambda found: found.group)] == [(0,), (0,), (1,)]


def test_groups_may_end_together():
    search = BeamSearch(2, groups=2, diversity_penalty=9.0, end_ids=[0], max_new_tokens=5, early_stopping=True)
    step = search.step(torch.tensor([[0.5, 0.3, 0.2]]).log())
    assert search.done
    assert [found.tokens for found in search.finished] == [(0,), (0,)]
    assert step.parents.tolist() == step.tokens.tolist() == []


def test_a_group_that_is_done_leaves_the_others_their_rows():
    """The first group ends; the second, pushed off its best token, goes on alone in row 0."""
    search = BeamSearch(2, groups=2, diversity_penalty=2.0, end_ids=[2], max_new_tokens=5, early_stopping=True)
    step = search.step(torch.tensor([[0.5, 0.3, 0.2]]).log())
    assert (step.parents.tolist(), step.tokens.tolist()) == ([0, 0], [0, 1])
    step = search.step(torch.tensor([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]).log())
    assert (step.parents.tolist(), step.tokens.tolist()) == ([1], [1])
    assert [found.tokens for found in search.finished] == [(0, 2)]
    step = search.step(torch.tensor([[0.6, 0.3, 0.1]]).log())
    assert (step.parents.tolist(), step.tokens.tolist()) == ([0], [0])


def test_ties_go_to_the_lowest_beam_and_token():
    search = BeamSearch(3, max_new_tokens=3)
    level = torch.full((1, 50), 1 / 50).log()
    first = search.step(level)
    assert (first.parents.tolist(), first.tokens.tolist()) == ([0, 0, 0], [0, 1, 2])
    second = search.step(level.expand(3, -1))
    assert (second.parents.tolist(), second.tokens.tolist()) == ([0, 0, 0], [0, 1, 2])
    search.step(level.expand(3, -1))
    assert [found.tokens for found in search.finished] == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]


def test_the_tree_by_hand():
    """Two beams, token 2 ends. Node by node: parent, token, probability of the path, step, status."""
    search = BeamSearch(2, max_new_tokens=2, end_ids=[2])
    search.step(torch.tensor([[0.2, 0.5, 0.3]]).log())
    assert search.finished[0].tokens == (2,)
    search.step(torch.tensor([[0.1, 0.3, 0.6], [0.4, 0.25, 0.35]]).log())
    expected = [
        (None, 1, 0.5, 0, "kept"),
        (None, 2, 0.3, 0, "finished"),
        (None, 0, 0.2, 0, "kept"),
        (0, 2, 0.3, 1, "finished"),
        (0, 1, 0.15, 1, "finished"),  # as long as answers may be
        (2, 0, 0.08, 1, "pruned"),
        (2, 2, 0.07, 1, "pruned"),  # four candidates, so 0.05 twice is not looked at
    ]
    nodes = search.tree.nodes
    assert [(n.parent, n.token_id, pytest.approx(math.exp(n.score)), n.step, n.status) for n in nodes] == expected
    assert nodes[5].logprob == pytest.approx(math.log(0.4))
    assert search.tree.path(5) == (2, 5)
    assert search.done
    # a token, log 0.3 / 2 and log 0.15 / 2 beat log 0.3 / 1, and two are remembered
    assert [(found.tokens, found.node) for found in search.finished] == [((1, 2), 3), ((1, 1), 4)]


def test_a_beam_goes_on_even_if_all_its_best_tokens_end_it():
    search = BeamSearch(1, max_new_tokens=9, end_ids=[0, 1], early_stopping="never")
    step = search.step(torch.tensor([[0.5, 0.3, 0.2]]).log())
    assert (step.parents.tolist(), step.tokens.tolist()) == ([0], [2])


def test_an_end_beyond_the_best_beams_is_pruned():
    search = BeamSearch(1, max_new_tokens=9, end_ids=[1])
    search.step(torch.tensor([[0.6, 0.4]]).log())
    assert [node.status for node in search.tree.nodes] == ["kept", "pruned"]
    assert search.finished == []


def test_steps_and_tree_tell_the_same_story():
    search = BeamSearch(6, groups=2, diversity_penalty=0.5, end_ids=[3], max_new_tokens=6)
    logprobs, prefixes = random_table(2, vocab=7), [()]
    while not search.done:
        known = len(search.tree.nodes)
        last = [prefix[-1] if prefix else 0 for prefix in prefixes]
        step = search.step(logprobs[last])
        pairs = zip(step.parents.tolist(), step.tokens.tolist(), strict=True)
        prefixes = [(*prefixes[parent], token) for parent, token in pairs]
        added = range(known, len(search.tree.nodes))
        kept = [
            tuple(search.tree.nodes[node].token_id for node in search.tree.path(place))
            for place in added
            if search.tree.nodes[place].status == "kept"
        ]
        assert [prefix for prefix in kept if prefix in prefixes] == prefixes
    for place, node in enumerate(search.tree.nodes):
        assert (node.parent is None) == (node.step == 0)
        if node.parent is not None:
            parent = search.tree.nodes[node.parent]
            assert node.parent < place
            assert (parent.status, parent.step, parent.group) == ("kept", node.step - 1, node.group)
            cost = parent.score + node.logprob - node.score  # a whole number of penalties
            assert cost / 0.5 == pytest.approx(round(cost / 0.5), abs=1e-9)
    for found in search.finished:
        assert search.tree.nodes[found.node].status == "finished"
        assert found.logprob == pytest.approx(sum(search.tree.nodes[n].logprob for n in search.tree.path(found.node)))


def test_the_tree_is_plain_data():
    tree = search_table(random_table(0), 2, max_new_tokens=3).tree
    again = [BeamNode(**node) for node in json.loads(json.dumps(asdict(tree)))["nodes"]]
    assert again == tree.nodes


def test_impossible_tokens_are_no_candidates():
    search = BeamSearch(3, max_new_tokens=4)
    step = search.step(torch.tensor([[-math.inf, math.log(0.7), -math.inf, math.log(0.3)]]))
    assert step.tokens.tolist() == [1, 3]
    assert len(search.tree.nodes) == 2
    step = search.step(torch.full((2, 4), -math.inf))
    assert search.done
    assert search.finished == []


def test_the_input_stays_as_it_was():
    logprobs = random_table(5)[:1]
    before = logprobs.clone()
    BeamSearch(2, groups=2, diversity_penalty=1.0, max_new_tokens=3).step(logprobs)
    assert torch.equal(logprobs, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0}, "beams=0: expected a whole number of at least 1"),
        ({"beams": 2.0}, "beams=2.0: expected a whole number"),
        ({"beams": True}, "beams=True: expected a whole number"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: expected a whole number of at least 1"),
        ({"groups": 0}, "groups=0: expected a whole number of at least 1"),
        ({"groups": 3}, "groups=3: expected a divisor of beams=4"),
        ({"diversity_penalty": -0.1}, "diversity_penalty=-0.1: expected a finite number of at least 0"),
        ({"diversity_penalty": math.inf}, "diversity_penalty=inf: expected a finite number"),
        ({"length_penalty": math.nan}, "length_penalty=nan: expected a finite number of at least -10 and at most 10"),
        ({"length_penalty": 11}, "length_penalty=11: expected"),
        ({"length_penalty": "1"}, "length_penalty='1': expected"),
        ({"end_ids": [3, -1]}, r"end_ids=\[-1, 3\]: expected whole numbers of at least 0"),
        ({"end_ids": ["</s>"]}, r"end_ids=\['</s>'\]: expected whole numbers"),
        ({"early_stopping": "always"}, "early_stopping='always': expected False, True or 'never'"),
        ({"early_stopping": 1}, "early_stopping=1: expected"),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(**{"beams": 4, "max_new_tokens": 8, **settings})


@pytest.mark.parametrize(
    ("logprobs", "message"),
    [
        (torch.zeros(4), r"logprobs has shape \(4,\): expected \[1, V\]"),
        (torch.zeros(2, 4), r"logprobs has shape \(2, 4\): expected \[1, V\]"),
        (torch.zeros(1, 0), "V of at least 1"),
        (torch.tensor([[-1.0, math.nan]]), "logprobs has nan: expected log-probabilities"),
        (torch.tensor([[-1.0, 2.5]]), "logprobs has 2.5: expected log-probabilities, so nothing above 0"),
    ],
)
def test_what_is_no_log_probabilities(logprobs, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(2, max_new_tokens=3).step(logprobs)


def test_every_live_beam_needs_its_row():
    search = BeamSearch(2, max_new_tokens=3)
    search.step(random_table(0)[:1])
    with pytest.raises(ValueError, match=r"expected \[2, V\]"):
        search.step(random_table(0)[:1])


def test_a_search_that_is_done_takes_no_step():
    search = search_table(random_table(0), 2, max_new_tokens=1)
    with pytest.raises(RuntimeError, match="the search is done"):
        search.step(random_table(0)[:0])

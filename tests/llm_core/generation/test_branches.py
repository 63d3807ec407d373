"""Branches of real answers of the toy: where they leave, what they share, how the tree is kept."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.generation.branches import (
    Branch,
    BranchTree,
    build_continuation,
    compare_branches,
    encode_typed_text,
    sum_logprobs,
)
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

ROW = SampleRequest(SamplerConfig(seed=4), 10)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def generate(engine: Engine, request: GenerationRequest):
    run = engine.submit(request)
    assert run.wait(30)
    return run


@pytest.fixture
def tree() -> BranchTree:
    return BranchTree()


@pytest.fixture
def root(engine, tree) -> Branch:
    return tree.root(generate(engine, GenerationRequest("toy", PromptSpec("Hello"), (ROW,))), 0)


def grow_branch(engine: Engine, tree: BranchTree, parent: Branch, step: int, forced: tuple[int, ...] = ()) -> Branch:
    run = generate(engine, build_continuation(parent, step, ROW, forced))
    return tree.add_branch(parent, step, run, "token" if forced else "again")


def token_ids(branch: Branch) -> list[int]:
    return [event.token_id for event in branch.events()]


def find_other_token(branch: Branch, step: int) -> int:
    trace = branch.events()[step].trace
    return next(token for token in trace.candidates if token != trace.token_id)


def test_a_branch_shares_the_beginning_and_shows_the_picked_token_with_its_probability(engine, tree, root):
    token = find_other_token(root, 4)
    branch = grow_branch(engine, tree, root, 4, (token,))
    assert token_ids(branch)[:4] == token_ids(root)[:4]
    assert token_ids(branch)[4] == token
    assert len(token_ids(branch)) == 4 + 1 + 10  # what was shared, what was picked, and ten of the model's own
    assert branch.forced_steps == range(4, 5)
    before = root.events()[4].trace
    probability = before.raw.logprobs[list(before.candidates).index(token)]
    assert branch.events()[4].trace.logprob == pytest.approx(probability, abs=1e-5)
    assert branch.row.cached_tokens == len(root.run.rendered.token_ids) + 4 - 1  # nothing of it was read again


def test_drawing_again_with_the_same_seed_says_the_same_and_a_fresh_seed_is_another(engine, tree, root):
    again = grow_branch(engine, tree, root, 3)
    assert token_ids(again)[:10] == token_ids(root)
    assert tree.choose_unused_seed(again, 4) == 5
    assert tree.choose_unused_seed(again, 9) == 9


def test_a_branch_of_a_branch_begins_with_both(engine, tree, root):
    first = grow_branch(engine, tree, root, 4, (find_other_token(root, 4),))
    second = grow_branch(engine, tree, first, 6, (find_other_token(first, 6),))
    early = grow_branch(engine, tree, first, 2, (find_other_token(first, 2),))
    assert token_ids(second)[:6] == token_ids(first)[:6]
    assert token_ids(early)[:2] == token_ids(root)[:2]
    sibling = grow_branch(engine, tree, first, 4)
    assert (second.parent, early.parent, sibling.parent) == (first, root, root)
    assert second.root is root
    text = toy_model().decode(token_ids(second))
    assert second.text == text
    assert compare_branches(second, first).shared == 6
    assert compare_branches(early, second).shared == 2


def test_comparing_says_where_two_answers_part(engine, tree, root):
    branch = grow_branch(engine, tree, root, 5, (find_other_token(root, 5),))
    shared, left, right = compare_branches(root, branch)
    assert shared == 5
    assert [event.token_id for event in left] == token_ids(root)[5:]
    assert [event.token_id for event in right] == token_ids(branch)[5:]
    assert compare_branches(root, root) == (len(token_ids(root)), [], [])
    probabilities = [math.exp(event.trace.logprob) for event in left]
    assert math.exp(sum_logprobs(left)) == pytest.approx(math.prod(probabilities))


def test_the_outline_puts_branches_below_what_they_grew_on(engine, tree, root):
    first = grow_branch(engine, tree, root, 4, (find_other_token(root, 4),))
    other_root = tree.root(generate(engine, GenerationRequest("toy", PromptSpec("Bye"), (ROW,))), 0)
    second = grow_branch(engine, tree, first, 6, (find_other_token(first, 6),))
    third = grow_branch(engine, tree, root, 1, (find_other_token(root, 1),))
    assert tree.list_in_order() == [(root, 0), (first, 1), (second, 2), (third, 1), (other_root, 0)]
    assert tree.root(root.run, 0) is root


def test_pruning_takes_what_grew_on_it_and_can_be_taken_back(engine, tree, root):
    first = grow_branch(engine, tree, root, 4, (find_other_token(root, 4),))
    second = grow_branch(engine, tree, first, 6, (find_other_token(first, 6),))
    before = tree.list_in_order()
    assert tree.prune(first) == [first, second]
    assert tree.list_in_order() == [(root, 0)]
    assert tree.get(second.id) is None
    assert token_ids(second)[:4] == token_ids(root)[:4]  # what has gone can still be shown by who holds it
    with pytest.raises(ValueError, match="not in this tree"):
        tree.add_branch(first, 1, root.run, "again")
    tree.restore([first, second])
    assert tree.list_in_order() == before
    tree.prune(first)
    assert grow_branch(engine, tree, root, 2).id > second.id


def test_what_lost_its_parent_is_not_restored(engine, tree, root):
    first = grow_branch(engine, tree, root, 4)
    second = grow_branch(engine, tree, first, 6)
    pruned = tree.prune(second)
    tree.prune(first)
    tree.restore(pruned)
    assert tree.list_in_order() == [(root, 0)]


def test_bare_roots_are_forgotten_the_oldest_first(engine, tree, root):
    runs = [generate(engine, GenerationRequest("toy", PromptSpec(text), (ROW,))) for text in "abcd"]
    roots = [tree.root(run, 0) for run in runs]
    roots[0].name = "the first"
    grow_branch(engine, tree, root, 4)
    tree.drop_bare_roots(keep=1)
    assert [branch for branch, depth in tree.list_in_order() if not depth] == [root, roots[0], roots[3]]


def test_a_copy_is_pruned_and_named_on_its_own(engine, tree, root):
    first = grow_branch(engine, tree, root, 4)
    twin = tree.copy()
    twin.prune(twin.get(first.id))
    twin.get(root.id).name = "mine"
    assert tree.list_in_order() == [(root, 0), (first, 1)]
    assert root.name == ""
    assert twin.get(root.id).run is root.run
    assert twin.root(root.run, 0) is twin.get(root.id)


def test_a_step_that_the_answer_has_not_reached(root):
    with pytest.raises(ValueError, match="has 10 tokens"):
        build_continuation(root, 11, ROW)


def test_a_branch_stays_inside_the_output_format(engine, tree):
    spec = PromptSpec("Hello", output=OutputFormat("choice", ("red", "green", "grey")))
    row = SampleRequest(SamplerConfig(temperature=0), 10)
    root = tree.root(generate(engine, GenerationRequest("toy", spec, (row,))), 0)
    wanted = "green" if root.text != "green" else "grey"
    forced = encode_typed_text(toy_model(), (), wanted[:3])
    branch = grow_branch(engine, tree, root, 0, forced)
    assert branch.text.startswith("gre")
    assert branch.text in ("green", "grey")
    deeper = grow_branch(engine, tree, branch, 3, encode_typed_text(toy_model(), token_ids(branch)[:3], "y"))
    assert deeper.text == "grey"
    outside = grow_branch(engine, tree, branch, 3, encode_typed_text(toy_model(), (), "x"))
    assert outside.row.error.code == "branch_outside_format"
    assert outside.row.events() == []


@pytest.mark.parametrize("text", [" Paris", "Paris", "\n\nHà Nội ế", "a  b", "..."])
@pytest.mark.parametrize("before", ["The capital is", "one.", ""])
def test_typed_text_is_written_as_it_was_typed(builtin, before, text):
    before_ids = builtin.tokenizer(before, add_special_tokens=False)["input_ids"] if before else []
    tokens = encode_typed_text(builtin, before_ids, text)
    assert builtin.decode([*before_ids, *tokens]) == before + text


def test_typed_text_gets_no_space_from_a_tokenizer_that_adds_one():
    letters = {piece: place for place, piece in enumerate(["<unk>", "▁", "a", "b", "▁a", "▁b", "\n", "▁\n"])}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[("▁", "a"), ("▁", "b"), ("▁", "\n")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    model = dataclasses.replace(toy_model(), tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    before = model.tokenizer("ab")["input_ids"]
    assert model.tokenizer("ba")["input_ids"] == [letters["▁b"], letters["a"]]  # alone, it begins a word
    assert encode_typed_text(model, before, "ba") == (letters["b"], letters["a"])
    assert model.decode([*before, *encode_typed_text(model, before, " ba")]) == "ab ba"

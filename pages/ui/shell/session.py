"""What one browser tab remembers, typed. The only module that touches `st.session_state`.

Widgets keep their own values under the keys named here; everything else lives in one `Session`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st
from pydantic import SecretStr

from llm_core import NucleusError
from llm_core.decoding.precision import Precision
from llm_core.experiments.study import GridExperiment
from llm_core.experiments.tasks import Task
from llm_core.generation.beam_search import BeamRun
from llm_core.generation.branches import Branch, BranchTree
from llm_core.generation.record import Run
from llm_core.generation.technique_run import TechniqueRun
from llm_core.models import builtin
from llm_core.prompts.spec import PromptSpec
from llm_core.providers.dispatch.response_cache import ResponseCache
from pages.ui.best_of_n.drafts import BestOfNState
from pages.ui.compare.drafts import ColumnList, ShownComparison, ShownSweep
from pages.ui.prompt.example_list import ExampleList

if TYPE_CHECKING:
    from llm_core.analysis.step_inspector import Draws, Lens
    from llm_core.formats.registry import Lost
    from llm_core.generation.request import Image
    from llm_core.providers.google.prompt_store import PromptEntry, SavedPrompt, VersionEntry
    from llm_core.providers.google.prompt_store_wire import PromptImport
    from llm_core.providers.http.background_call import BackgroundCall
    from llm_core.providers.provider import HostedModel
    from llm_core.recipes.recipe import Recipe
    from llm_core.recipes.trace import Trace


class Key(StrEnum):
    """Widget keys."""

    LANGUAGE = "language"
    TECHNIQUE = "technique"
    INSTRUCTION = "instruction"
    QUESTION = "question"
    SYSTEM = "system"
    ROLE = "role"
    CONTEXT = "context"
    EXAMPLES_AS = "examples_as"
    INPUT_LABEL = "input_label"
    OUTPUT_LABEL = "output_label"
    TRIGGER = "trigger"
    ANSWER_MARKER = "answer_marker"
    STEP_BACK_QUESTION = "step_back_question"
    CHAINS = "chains"
    PREFILL = "prefill"
    DOCUMENT = "document"
    PASSAGES = "passages"
    OUTPUT_KIND = "output_kind"
    CHOICES = "choices"
    SCHEMA = "schema"
    EXTRACTION_KIND = "extraction_kind"
    EXTRACTION_ARGUMENT = "extraction_argument"
    STRATEGY = "strategy"
    TEMPERATURE = "temperature"
    TOP_K = "top_k"
    TOP_P = "top_p"
    ORDER = "order"
    FURTHER_STAGES = "further_stages"
    SEED = "seed"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    STOP_SEQUENCES = "stop_sequences"
    MODEL_ID = "model_id"
    PRECISION = "precision"
    PROVIDER = "provider"
    SERVER_URL = "server_url"
    VERTEX_PLACE = "vertex_place"
    THINKING = "thinking"
    SHOW_THOUGHTS = "show_thoughts"
    SAFETY = "safety"
    SHARE_TITLE = "share_title"
    SHARE_AUTHOR = "share_author"
    SHARE_LICENCE = "share_licence"
    SHARE_NOTES = "share_notes"


@dataclass
class ValueTable:
    """Values of a prompt's variables, as a grid edits them: the grid starts from `start` and keeps the changes, so it
    is given another start, under another name, only when the rows come from elsewhere."""

    rows: list[dict[str, str]] = field(default_factory=list)
    start: list[dict[str, str]] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    version: int = 0

    def set(self, rows: list[dict[str, str]]) -> None:
        self.rows = self.start = rows
        self.version += 1

    def restart(self, columns: tuple[str, ...]) -> None:
        """Other columns: what was in columns that are gone comes back with them."""
        kept = self.start + [{}] * (len(self.rows) - len(self.start))
        self.columns = columns
        self.set([old | new for old, new in zip(kept, self.rows, strict=False)])


@dataclass
class ShownStudy:
    """A study on the Techniques page, with what it is about."""

    study: GridExperiment
    task: Task
    title: str


@dataclass(frozen=True)
class Replaced:
    """The Playground's work from before something else was opened in it."""

    prompt: PromptSpec
    panel: Mapping[str, object]
    """The sampler's panel, by widget."""
    model_id: str
    precision: Precision
    askings: tuple[TechniqueRun, ...]
    asked_values: tuple[Mapping[str, str], ...]
    asked_prompt: PromptSpec | None


class Guess(NamedTuple):
    """What somebody thought would come next."""

    token: int | None
    """None for no guess, and for one that is none of the tokens that a provider showed."""
    probability: float | None
    """What the model gave it, or at most gave it if it was not shown; None for no guess."""
    hit: bool
    """Whether it was the likeliest."""


@dataclass
class LensState:
    """Where the Lens stands."""

    of: tuple[str, int] = ("", 0)
    """The run's id and the row."""
    step: int = 0
    runs: dict[tuple[str, int, int], Run] = field(default_factory=dict)
    """What is being asked for: the logits of a step."""
    lenses: dict[tuple[str, int, int], Lens] = field(default_factory=dict)
    """Steps that were looked at, the oldest first."""
    guesses: dict[int, Guess] = field(default_factory=dict)
    """What the learner said before the distribution was shown, by step."""
    draws: tuple[tuple, Draws] | None = None
    """The last ones, after what they were drawn from: a hundred thousand take a second."""
    own_order: tuple[str, ...] = ()
    """Stages as the reader put them."""

    def start(self, of: tuple[str, int], step: int) -> None:
        """Another answer."""
        self.of, self.step, self.guesses = of, step, {}


@dataclass(frozen=True)
class OpenedRecipe:
    """What was opened in the Playground, or saved from it, last."""

    recipe: Recipe
    shown: Recipe | None = None
    """What the Playground's fields said of it when they were filled."""
    id: str = ""
    """Under which it is saved; empty where it is not saved here."""
    version: int = 0
    mine: bool = False
    not_read: tuple[Lost, ...] = ()
    """What of the file that it came in has no place in a recipe."""


@dataclass
class GalleryState:
    """Where the Gallery stands."""

    shown: str | None = None
    """The id of the saved recipe that is looked at; None shows the list."""
    skip: int = 0
    """Recipes before those that are listed."""
    deleted: tuple[str, str] | None = None
    """Id and title of what was deleted last."""
    notice: tuple[str, str] | None = None
    """What came of the last action: "success", "warning" or "error", and the words."""
    runs_skip: int = 0
    """Past runs before those that are listed."""


@dataclass
class VertexState:
    """Prompts in Vertex AI's Prompt Management."""

    place: str = ""
    """The project and location that were listed last."""
    entries: tuple[PromptEntry, ...] = ()
    versions: dict[str, tuple[VersionEntry, ...]] = field(default_factory=dict)
    """By prompt."""
    kept: SavedPrompt | None = None
    """What was saved last."""
    fetched: PromptImport | None = None
    """What waits for the reader to say whether it may be opened without some of its parts."""


@dataclass
class Wait:
    """What a part of a page asked of a service: see `pages.ui.shell.background_call`."""

    words: str
    """What is waited for, in the reader's language."""
    take: Callable[[Any], None]
    """What is done with the answer."""
    stopped: str = ""
    """What it means that it was stopped."""
    errand: BackgroundCall | None = None
    refusal: NucleusError | None = None
    """Why nothing was asked at all."""


@dataclass
class Session:
    """Values that are not a widget's."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Whose turns in the engine's queue this tab uses."""
    owner_secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Who holds it owns what is saved with it; the browser keeps it."""
    owner_settled: bool = False
    """Whether the browser has been asked for it."""
    routed: bool = False
    language: str | None = None
    language_in_address: str | None = None
    model_id: str = builtin.MODEL_ID
    precision: Precision = "float32"
    """In which numbers the model computes."""
    keys: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    """Keys of providers, by `scheme` or `scheme:place`; nowhere else."""
    listed_models: dict[str, tuple[HostedModel, ...]] = field(default_factory=dict)
    """What providers listed, under the same names."""
    answers: ResponseCache = field(default_factory=ResponseCache)
    """Hosted answers that may be given again in this tab, and nowhere else."""
    waits: dict[str, Wait] = field(default_factory=dict)
    """What this tab has asked of services, by the place of a page that shows it."""
    hosted_notice: str | None = None
    """Why a model was refused."""
    counted: tuple[tuple, str] | None = None
    """What a provider counted last: of what, and what it said in the reader's language."""
    work_id: str = ""
    """Under which the page's address finds this tab's work again."""
    askings: list[TechniqueRun] = field(default_factory=list)
    """The prompts that were run together: one, or one for each row of values."""
    asked_values: tuple[Mapping[str, str], ...] = ()
    """The row of values of each of them, if there is one."""
    shown: tuple[int, int] = (0, 0)
    """Which of them is shown, and which of its chains."""
    examples: ExampleList = field(default_factory=ExampleList)
    value_table: ValueTable = field(default_factory=ValueTable)
    import_notes: dict[str, str] = field(default_factory=dict)
    """What came of the last import into each table, in the reader's language."""
    document_note: str | None = None
    """Why the last file was not taken as the document."""
    lens: LensState = field(default_factory=LensState)
    studies: dict[str, ShownStudy] = field(default_factory=dict)
    """The last one of each kind."""
    study_rows: list[dict[str, str]] = field(default_factory=list)
    """The user's own items."""
    study_notice: str | None = None
    asked_prompt: PromptSpec | None = None
    """The prompt that they were filled from."""
    asked_recipe: Recipe | None = None
    """The recipe that was open when they were asked."""
    panel: dict[str, object] = field(default_factory=dict)
    """The sampler's panel when the page was last drawn as a whole, by widget."""
    tree: BranchTree = field(default_factory=BranchTree)
    """Answers and their branches."""
    branch: int | None = None
    """The one that is shown; None is the answer at `shown`."""
    compared: int | None = None
    """The one beside it."""
    pruned: list[Branch] = field(default_factory=list)
    """What was pruned last."""
    beam: BeamRun | None = None
    """The last beam search."""
    beam_notice: str | None = None
    branch_notice: str | None = None
    """Why the last branch was refused, in the reader's language."""
    columns: ColumnList = field(default_factory=ColumnList)
    """Of the Compare page."""
    comparison: ShownComparison | None = None
    compared_before: ShownComparison | None = None
    """What was compared before a recorded run took its place."""
    swept: ShownSweep | None = None
    compare_notice: str | None = None
    """What the last attempt to change or run a comparison or sweep was refused for."""
    best: BestOfNState = field(default_factory=BestOfNState)
    """Of the Best-of-N page."""
    vertex: VertexState = field(default_factory=VertexState)
    selected_step: int | None = None
    """The step whose distribution is shown; None follows the newest."""
    replaced: Recipe | None = None
    """What stood in the Playground before something else was opened."""
    replaced_answers: tuple[TechniqueRun, ...] = ()
    """The answers below it, where a recorded run took their place."""
    opened: OpenedRecipe | None = None
    to_open: OpenedRecipe | None = None
    """What is to be opened if the reader agrees that it replaces what is there."""
    go_to: str = ""
    """The page that the reader is still to be taken to."""
    sharing: bool = False
    """Whether the Share dialog is open."""
    share_notice: str | None = None
    """Why a link or file was refused in it, in the reader's language."""
    recorded_trace: tuple[tuple[str, ...], Trace] | None = None
    """The last one that was made, after the ids of its runs."""
    saving: bool = False
    """Whether the dialog to save is open."""
    desk_notice: tuple[str, str] | None = None
    """What came of opening or saving: "success", "info", "warning" or "error", and the words."""
    images: tuple[Image, ...] = ()
    """Pictures that came with the recipe."""
    gallery: GalleryState = field(default_factory=GalleryState)
    history_on: bool = True
    """Whether the runs of this tab are kept."""
    history_notice: str | None = None
    """Why they are not."""
    recorded: set[str] = field(default_factory=set)
    """Runs that the history has."""
    notice: str | None = None
    """What the last attempt to run was refused for, already in the reader's language."""

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        if branch := self.tree.get(self.branch):
            return branch.run
        return self.askings[self.shown[0]].main if self.askings else None


def session() -> Session:
    """This tab's session, made on first use."""
    if "nucleus" not in st.session_state:
        st.session_state["nucleus"] = Session()
    return st.session_state["nucleus"]


SECRET = "api_key_"
"""Begins the keys of widgets that take a provider's key."""


def setting_key(field: str) -> str:
    """The widget key of a sampler setting that has none of its own in `Key`."""
    return f"setting_{field}"


def put(key: str, value: object) -> None:
    """Set a widget's value before it is drawn."""
    st.session_state[key] = value


def send_again() -> None:
    """Give every browser's field its value anew. To be called when labels change, as with the language: a browser names
    what is chosen by its label, and an old one would be taken for no choice at all."""
    for key, value in list(st.session_state.items()):
        if str(key).startswith(SECRET):  # what was typed there is never sent back
            continue
        if isinstance(value, str) or (
            isinstance(value, list) and value and all(isinstance(each, str) for each in value)
        ):
            st.session_state[key] = value


def has(key: str) -> bool:
    return key in st.session_state


def get(key: str):
    return st.session_state.get(key)


def get_number(key: str, field: str, low: float, high: float) -> float:
    """The value of a number field. Raises `NucleusError` naming the `field` if it is empty or out of range.

    Checked here and not by the fields themselves: those put a number back in silence, and people should read why.
    """
    value = get(key)
    if value is None:  # the field was cleared, or holds what is no number
        raise NucleusError("setting_empty", field=field)
    if not low <= value <= high:
        raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)
    return value

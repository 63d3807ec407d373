"""Build generation requests for the model that a tab has chosen."""

from __future__ import annotations

from llm_core.generation.request import DEFAULT_DEADLINE_SECONDS, GenerationRequest, HostedOptions, SampleRequest
from llm_core.prompts.spec import PromptSpec
from pages.ui.model.hosted_options import read_hosted_options
from pages.ui.shell.session import session


def build_request(
    prompt: PromptSpec,
    sample: SampleRequest,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    hosted: HostedOptions | None = None,
) -> GenerationRequest:
    """Build the request for one answer to a prompt with the tab's model, precision and place in the queue.

    `hosted` replaces the options of hosted models that the fields have.
    """
    state = session()
    options = read_hosted_options() if hosted is None else hosted
    return GenerationRequest(state.model_id, prompt, (sample,), state.precision, state.id, deadline_seconds, options)

"""What the user asks, and the exact text and tokens that the model receives for it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from llm_core.errors import NucleusError

if TYPE_CHECKING:
    from llm_core.language_model import LanguageModel

MAX_CHARACTERS = 200_000
"""More than any context window this app meets; a paste beyond it is refused before it is tokenised."""


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The prompt as the model sees it: the text with its special tokens, and the token ids."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A prompt as its author wrote it. `validate` and `render` raise `NucleusError` naming the field at fault."""

    instruction: str
    system: str = ""

    def validate(self) -> None:
        """Refuse an empty instruction, control characters and texts beyond `MAX_CHARACTERS`."""
        if not self.instruction.strip():
            raise NucleusError("prompt_empty")
        for field in fields(self):
            text = getattr(self, field.name)
            if len(text) > MAX_CHARACTERS:
                raise NucleusError("prompt_too_large", field=field.name, size=len(text), limit=MAX_CHARACTERS)
            for place, character in enumerate(text):
                if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t":
                    code = f"U+{ord(character):04X}"
                    raise NucleusError("prompt_control_character", field=field.name, character=code, position=place + 1)

    def render(self, model: LanguageModel) -> RenderedPrompt:
        """Apply the model's chat template; a base model, which has none, gets plain text to continue."""
        self.validate()
        tokenizer = model.tokenizer
        if tokenizer.chat_template:
            text = self._chat_text(tokenizer)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            text = "\n\n".join(filter(None, (self.system, self.instruction)))
            ids = tokenizer(text)["input_ids"]
        if len(ids) >= model.context_window:
            raise NucleusError("prompt_too_long", tokens=len(ids), limit=model.context_window)
        return RenderedPrompt(text, tuple(ids))

    def _chat_text(self, tokenizer) -> str:
        from jinja2 import TemplateError

        user = {"role": "user", "content": self.instruction}
        messages = [{"role": "system", "content": self.system}, user] if self.system else [user]
        try:
            return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError:
            if not self.system:
                raise
            # Some models have no system role; their makers put such text in front of the user's.
            merged = {"role": "user", "content": f"{self.system}\n\n{self.instruction}"}
            return tokenizer.apply_chat_template([merged], add_generation_prompt=True, tokenize=False)

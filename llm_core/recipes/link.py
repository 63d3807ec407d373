"""Pack a recipe into a link: its data compressed, in letters that a URL can hold as they are. Nothing is stored
anywhere.

The text is a letter for the way of packing, then base64url of zlib over compact JSON, with a dictionary of the words
that recipes share. zlib's checksum tells a damaged link from a whole one. A recorded run is left out: it is too long.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from urllib.parse import parse_qs, urlsplit

from llm_core.errors import NucleusError
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import load_data

PARAMETER = "r"
"""Name of the link's query parameter."""
MAX_LINK_CHARACTERS = 6_000
"""Characters of a link. Chats, mail programs and the proxies in front of servers cut or refuse much longer URLs."""
MAX_UNPACKED_BYTES = 2**20
"""Bytes that a link may unpack to."""

_PACKING_VERSION = "a"
_DICTIONARY = (
    b'"order":"llama_cpp"},"order":"gemini"},"tags":["criteria":{"sum_logprob":1.0},"candidates":'
    b'"repetition_penalty":"presence_penalty":"frequency_penalty":"min_p":"top_n_sigma":"typical_p":"logit_bias":{'
    b'"hosted":{"thinking":"safety":[["HARASSMENT","BLOCK_ONLY_HIGH"],"precision":"int4","bfloat16",'
    b'"technique":"few_shot_chain_of_thought","self_consistency","step_back","one_shot",'
    b'"examples_as":"text","trigger":"answer_marker":"Answer:","prefill":"'
    b'"output":{"kind":"choice","choices":["schema":"{\\"type\\": \\"object\\", \\"properties\\": {'
    b'"extraction":{"kind":"marker","argument":"number"},"context":"","document":"","role":"You are "system":"'
    b'"examples":[{"input":"","output":"","reasoning":""},"question":"","technique":"chain_of_thought","few_shot",'
    b'"language":"vi","licence":"CC-BY-4.0","author":"","notes":"",'
    b'"limits":{"max_output_tokens":128,"stop_sequences":["\\n"]},"seeds":[7],'
    b'"sampler":{"temperature":0.8,"top_k":40,"top_p":0.95},'
    b'{"schema_version":1,"title":"","language":"en","model":{"id":"builtin","revision":""},"prompt":{"instruction":"'
)
"""zlib's preset dictionary; later words are cheaper to refer to. A change makes old links unreadable, so it needs
another `_PACKING_VERSION`."""


def encode_link(recipe: Recipe) -> str:
    """Return the value of the link's parameter. Raises `NucleusError` where it would be too long; a file can hold the
    recipe then."""
    data = {name: value for name, value in recipe.data().items() if name != "trace"}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    packed = packer.compress(text) + packer.flush()
    link = _PACKING_VERSION + base64.urlsafe_b64encode(packed).decode().rstrip("=")
    if len(link) > MAX_LINK_CHARACTERS or len(text) > MAX_UNPACKED_BYTES:
        raise NucleusError("recipe_link_too_long", size=len(link), limit=MAX_LINK_CHARACTERS)
    return link


def decode_link(text: str) -> Recipe:
    """Read the recipe of `encode_link` from its text or from a whole URL. Raises `NucleusError` for a damaged or too
    long link."""
    text = text.strip()
    if "?" in text:
        try:
            text = parse_qs(urlsplit(text).query, max_num_fields=20).get(PARAMETER, [""])[0]
        except ValueError:
            raise NucleusError("recipe_link_damaged") from None
    if len(text) > MAX_LINK_CHARACTERS:
        raise NucleusError("recipe_link_too_long", size=len(text), limit=MAX_LINK_CHARACTERS)
    if not text.isascii() or text[:1] != _PACKING_VERSION:
        raise NucleusError("recipe_link_damaged")
    try:
        packed = base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj(zdict=_DICTIONARY)
        unpacked = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
    except (binascii.Error, zlib.error):
        raise NucleusError("recipe_link_damaged") from None
    if unpacker.unconsumed_tail:
        raise NucleusError("recipe_too_large", size=f"> {MAX_UNPACKED_BYTES}", limit=MAX_UNPACKED_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise NucleusError("recipe_link_damaged")
    return Recipe.read(load_data(unpacked))

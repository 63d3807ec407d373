"""Hosted models and other people's servers. Each provider is a thin client plus a pure adapter, both behind `base`.

`service` queues, retries and records · `openai_compatible`, `gemini` the clients · `openai_wire`, `gemini_wire` the
adapters · `capabilities` what each model was found to do, `asked` what that means for a request · `partial_view`
sampler stages over the few tokens that a provider shows, `token_texts` their texts · `addresses`, `network`,
`credentials` where requests may go, and with which key · `failures` what went wrong, in words · `prices` what it cost.
"""

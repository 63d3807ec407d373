"""Many sessions at once, with failures and Stop at random moments: everything ends, and nothing stays behind."""

from __future__ import annotations

import random
import threading
import time

from llm_core import HostedOptions
from llm_core.providers.dispatch.service import Limits
from tests.llm_core.providers.conftest import PATIENCE, PLANTED, keys_for, make_router, request
from tests.support.fake_openai import OpenAIServer, error, finish, said
from tests.support.fake_server import Reply


def test_every_run_ends_and_leaves_nothing_behind():
    chance = random.Random(5)
    router = make_router(Limits(parallel=6, first_wait=0.01, silence_seconds=1.0))
    runs = []
    with OpenAIServer("vllm", PLANTED) as server:
        gate = threading.Event()
        for _ in range(60):
            server.replies.append(
                chance.choice(
                    [
                        Reply(events=[said("The"), said(" sea"), finish("stop")]),
                        Reply(events=[said("The"), said(" sea"), finish("stop")], gate=gate),
                        Reply(events=[said("The"), said(" sea")], drop_after=1),
                        error(503, "Overloaded"),
                        error(400, "Unknown parameter: 'seed'."),
                        Reply(events=["data: {broken"]),
                        Reply(200, "<html>", headers={"Content-Type": "text/html"}),
                    ]
                )
            )

        def session(number: int) -> None:
            mine = random.Random(number)
            for _ in range(3):
                hosted = HostedOptions(candidate_count=mine.choice((1, 8)))
                asked = request(server.model, rows=2, session=str(number), max_output_tokens=3, hosted=hosted)
                run = router.submit(asked, keys_for(server))
                runs.append(run)
                time.sleep(mine.random() * 0.05)
                if mine.random() < 0.5:
                    run.cancel()

        threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(run.wait(PATIENCE) for run in runs)
        gate.set()
        until = time.monotonic() + PATIENCE
        while (router.hosted.active_rows or router.hosted.waiting_rows) and time.monotonic() < until:
            time.sleep(0.01)
        assert (router.hosted.active_rows, router.hosted.waiting_rows) == (0, 0)
    assert len(runs) == 24
    for run in runs:
        for row in run.rows:
            assert row.status in ("finished", "failed")
            assert (row.status == "failed") == (row.error is not None)
            assert row.error is None or row.error.code.startswith("provider_")
            assert row.text == "" or row.finish_reason or row.error

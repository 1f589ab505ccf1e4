"""The README's example for the browser as it stands there: a script of a page, in Chromium, and a real server process."""

from playwright.sync_api import BrowserContext

from tests.browser.support import Complaints, DemandServer
from tests.docs.reading import blocks, read, section


def test_the_example_for_the_browser_resumes_after_a_kill(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Each event once and in order, over a SIGKILL of the server; the page does nothing for it."""
    complaints.expects_network_errors = True
    code = blocks(section(read("README.md"), "Follow from five languages"), "js")[0]
    said: list[str] = []
    page = context.new_page()
    complaints.watch(page)
    page.on("console", lambda message: said.append(message.text) if message.type == "log" else None)
    page.goto(f"{server.url}/static/js/lib/event-stream.js")  # a document of the server's origin, and no page of ours
    page.evaluate(f"() => {{\n{code}}}")

    def publish(number: int) -> None:
        server.post("/api/events", {"stream": "task:42", "event_type": "note", "payload": {"n": number}})

    def wait_for(count: int) -> None:
        for _ in range(2_000):
            if len(said) >= count:
                return
            page.wait_for_timeout(10)

    publish(1)
    wait_for(1)
    server.kill()
    server.start()
    publish(2)
    wait_for(2)
    assert said == ["{n: 1}", "{n: 2}"]

"""The browser's own EventSource, in a page of the server."""

from urllib.parse import urlsplit

from lines import URL
from playwright.sync_api import sync_playwright

_SCRIPT = """url => {
  const lines = (window.lines = []);
  const source = new EventSource(url);
  source.onmessage = ({ data }) => lines.push(JSON.stringify({ revision: JSON.parse(data).revision, bytes: data.length }));
  for (const control of ["ready", "reset", "rotate", "end", "damaged"]) {
    source.addEventListener(control, () => lines.push(JSON.stringify({ control })));
  }
}"""

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_page()
    parts = urlsplit(URL)
    page.goto(f"{parts.scheme}://{parts.netloc}/health")
    page.evaluate(_SCRIPT, URL)
    while True:
        for line in page.evaluate("window.lines.splice(0)"):
            print(line, flush=True)
        page.wait_for_timeout(50)

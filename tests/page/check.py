#!/usr/bin/env python3
"""The page of a run in a real browser: python3 tests/page/check.py FRAMEWISE AXE [PICTURES]

FRAMEWISE is the program, AXE the file axe.min.js of axe-core, PICTURES a directory for pictures of the page. The
script needs Chromium, its driver and tests/page/requirements.txt. It trains graphs/quickstart.toml for many epochs and
looks at the page of that run. Each wait is bounded, and the run ends with the script.
"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Names that would be markup if the page took them for it.
ODD = "<img src=x onerror=document.title=1>"


def browser():
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    return webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def wait(page, what, script):
    try:
        return WebDriverWait(page, 40, 0.2).until(lambda page: page.execute_script(script))
    except Exception as error:
        raise SystemExit(f"timed out: {what}: {page.execute_script('return document.body.innerText')[:2000]}") from error


def check(holds, what):
    if not holds:
        raise SystemExit(f"not so: {what}")


def resize(page, width, height):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


def theme(page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def look(page, address, axe, pictures):
    resize(page, 1280, 900)
    page.get(f"http://{address}/")
    wait(page, "the page", "return document.body.dataset.ready")
    stages = wait(page, "the drawing", "return document.querySelectorAll('#drawing rect.stage').length")
    rows = page.execute_script("return document.querySelectorAll('#stage-table tbody tr').length")
    check(stages == rows > 10, f"{stages} stages are drawn and {rows} are in the table")
    wait(page, "edges that fill", "return [...document.querySelectorAll('path.edge')].some(e => e.dataset.fill > 0)")
    wait(page, "stages in colours", "return document.querySelectorAll('rect.stage.busy, rect.stage.starved').length > 3")
    wait(page, "the limiting unit", "return document.querySelector('rect.stage.limiting') && "
         "document.querySelector('#limit-sentence').textContent.startsWith('▶')")
    check(page.execute_script("return document.querySelector('#limit-advice').textContent"), "there is advice")

    points = "return Number(document.querySelector('[data-key=\"number loss\"]')?.dataset.points ?? 0)"
    first = wait(page, "the curve of the loss", points)
    grown = wait(page, "a curve that grows", f"const n = (() => {{ {points} }})(); return n > {first} && n")
    page.refresh()
    again = wait(page, "the curve after a reload", points)
    check(again >= grown, f"the loss has {again} points after a reload and had {grown} before")
    shares = "return Number(document.querySelector('[data-key=\"stage 0\"]')?.dataset.points ?? 0)"
    check(wait(page, "the shares after a reload", shares) > 10, "the shares before the reload are there")
    wait(page, "a checkpoint", "return document.querySelectorAll('#checkpoint-table tbody tr').length")
    wait(page, "messages", "return document.querySelectorAll('#log-table tbody tr').length")
    text = page.execute_script("return document.querySelector('#resolved-text').textContent")
    check("[stages.videos]" in text, "the resolved graph is shown")

    for scheme in ["light", "dark"]:
        theme(page, scheme)
        for width in [360, 1280, 2560]:
            resize(page, width, 900)
            wide = page.execute_script("return document.documentElement.scrollWidth")
            check(wide <= width, f"the page is {wide} pixels wide on a screen of {width}")
            page.execute_script(axe)
            found = page.execute_async_script("axe.run().then(arguments[0])")["violations"]
            told = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]
            check(not found, f"axe finds nothing, {scheme}, {width} pixels: {told}")
        if pictures:
            resize(page, 1100, 900)
            page.execute_script("scrollTo(0, 0)")
            pathlib.Path(pictures, f"page-{scheme}.png").write_bytes(page.get_screenshot_as_png())

    # The keyboard reaches the link over everything first, and everything that scrolls after that.
    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.execute_script("const e = document.activeElement; return e.id || e.className || e.hash"))
    check(reached[0] == "skip", f"the first key reaches {reached[0]}")
    check("drawing" in reached and "scroll" in reached, f"the keys reach {reached}")
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    check(outline == "solid", "the focus is visible")
    asked = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    check(asked and all(one.startswith(f"http://{address}/") for one in asked), "no request leaves the server")
    errors = [one for one in page.get_log("browser") if one["level"] == "SEVERE"]
    check(not errors, f"the browser reports nothing: {errors}")


def odd_names(page, address):
    page.get(f"http://{address}/")
    wait(page, "the page", "return document.body.dataset.ready")
    check(page.execute_script("return document.querySelectorAll('img').length") == 0, "a name is no markup")
    check(page.title != "1", "a name is not run")
    check(ODD in page.execute_script("return document.querySelector('#title').textContent"), "the name is shown")


def main():
    framewise, axe = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
    pictures = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as desk:
        command = [framewise, "run", ROOT / "graphs/quickstart.toml", "--run-dir", f"{desk}/run", "--quiet"]
        changes = ["stages.videos.epochs=1000000", "stages.report.every_steps=9"]
        # Pictures are for people, who see the name that the graph has.
        changes += [] if pictures else [f"graph.name={ODD}"]
        for change in changes:
            command += ["--set", change]
        run = subprocess.Popen(command + ["--metrics", "127.0.0.1:0"], stdout=subprocess.DEVNULL)
        try:
            live = pathlib.Path(desk, "run/live.json")
            until = time.monotonic() + 20
            while not live.exists():
                check(run.poll() is None and time.monotonic() < until, "the run is served")
                time.sleep(0.05)
            address = json.loads(live.read_text())["address"]
            page = browser()
            try:
                page.set_page_load_timeout(20)
                page.set_script_timeout(20)
                look(page, address, axe, pictures)
                if not pictures:
                    odd_names(page, address)
                run.send_signal(signal.SIGINT)
                wait(page, "the end of the run", "return document.querySelector('#state').textContent.includes('ended')")
            finally:
                page.quit()
            check(run.wait(30) == 130, "the run ends in order")
        finally:
            run.kill()
    print("the page holds")


main()

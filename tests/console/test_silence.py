"""What the console does with a server that is silent: it waits no longer than it says, and then tries again.

The modules run in Node.js, with a server of its own and a clock that runs faster. A browser does the same in the tests
of the journeys.
"""

import json
import shutil
import subprocess
from typing import Any, Final

import pytest

from tests.support.repository import ROOT

NODE = shutil.which("node")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NODE is None, reason="Node.js is not installed")]

CONSOLE = ROOT / "functions" / "describe" / "console"

BEGIN: Final = """
import http from "node:http";
import { register } from "node:module";

const hooks = `
  const files = { preact: "preact", "preact/hooks": "hooks", htm: "htm" };
  export const resolve = (name, context, next) =>
    next(files[name] ? "${BASE}vendor/" + files[name] + ".module.js" : name, context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

const stored = {};
globalThis.sessionStorage = {
  getItem: (key) => stored[key] ?? null,
  setItem: (key, text) => { stored[key] = text; },
  removeItem: (key) => { delete stored[key]; },
};
globalThis.document = { querySelector: () => null };
globalThis.location = { pathname: "/console", search: "" };
globalThis.addEventListener = globalThis.removeEventListener = () => {};

const asked = [];
let how = "silent";
const server = http.createServer((request, response) => {
  asked.push(`${request.method} ${request.url}`);
  if (how === "silent") return;
  response.writeHead(200, { "content-type": "application/json", "content-length": how === "half" ? 1000 : 13 });
  response.write('{"changed": 1}'.replace(" ", ""));
  if (how !== "half") response.end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const { fetch, setTimeout } = globalThis;
globalThis.fetch = (path, options) => fetch(`http://127.0.0.1:${server.address().port}${path}`, options);
globalThis.setTimeout = (work, milliseconds, ...more) => setTimeout(work, milliseconds / 100, ...more);
const { get } = await import(new URL("api.js", BASE));
const { post, truthOf } = await import(new URL("outbox.js", BASE));
const said = ({ kind, message, name }) => ({ kind, message, name });
"""


def run(work: str) -> Any:
    """Run a module in Node.js, and return what it prints as JSON."""
    assert NODE is not None
    script = f"const BASE = {json.dumps(CONSOLE.as_uri() + '/')};\n{BEGIN}{work}\nprocess.exit();\n"
    done = subprocess.run(
        [NODE, "--input-type=module", "-"], input=script, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["silent", "half"])
def test_an_answer_that_does_not_come_or_does_not_end_is_given_up_in_words(how: str) -> None:
    problem = run(
        f"""
        how = {json.dumps(how)};
        console.log(JSON.stringify(await get("/predictions").then(() => null, said)));
        """
    )

    assert problem["kind"] == "unreachable"
    assert problem["message"].startswith("The server does not answer.")


def test_what_one_does_not_want_any_more_is_no_silence() -> None:
    problem = run(
        """
        const controller = new AbortController();
        setTimeout(() => controller.abort(), 20);
        console.log(JSON.stringify(await get("/predictions", {}, controller).then(() => null, said)));
        """
    )

    assert problem["name"] == "AbortError"


def test_what_was_said_to_a_silent_server_is_sent_again_and_what_was_said_since_follows() -> None:
    course = run(
        """
        const problems = [];
        const first = post([truthOf("a", { label: "7" }, "seven")], ({ problem }) => {
          if (!problem || problems.length) return;
          problems.push(problem.message);
          how = "answer";
        });
        const { stored: some, changed } = await first.done;
        const { stored: more } = await post([truthOf("b", { label: "1" }, "one")]).done;
        console.log(JSON.stringify({ problems, stored: some.length + more.length, changed, asked }));
        """
    )

    assert course == {
        "problems": ["The server does not answer. It may be busy, or the connection is dead without being closed."],
        "stored": 2,
        "changed": 1,
        "asked": ["POST /ground_truth"] * 3,
    }

"""What the console reads of a file of ground truths, whoever wrote it, and what it writes for spreadsheets.

The modules run in Node.js: they need no browser. A browser imports and exports in the tests of the journeys.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT

NODE = shutil.which("node")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NODE is None, reason="Node.js is not installed")]

CONSOLE = ROOT / "functions" / "describe" / "console"

READ = """
import { columnsOf, items, look, wrongWith } from "./truth_file.js";
const cases = JSON.parse(await new Response(process.stdin).text());
const read = async (bytes) => {
  const file = new Blob([bytes]);
  const layout = await look(file);
  const columns = layout.header ? columnsOf(layout.header.names, "classification") : null;
  if (columns && wrongWith(columns)) return { layout, wrong: wrongWith(columns) };
  const found = [];
  for await (const part of items(file, layout, columns)) found.push(...part.found);
  return { layout, found };
};
const answers = {};
for (const [name, text] of Object.entries(cases)) {
  const refused = ({ constructor, message }) => ({ [constructor.name]: message });
  answers[name] = await read(Buffer.from(text, "base64")).catch(refused);
}
console.log(JSON.stringify(answers));
"""

WRITTEN = """
import { rowOf } from "./csv.js";
console.log(JSON.stringify(JSON.parse(await new Response(process.stdin).text()).map((value) => rowOf([value]))));
"""


def run(folder: Path, script: str, given: object) -> Any:
    """Run a module beside the console's own, and return the JSON that it prints."""
    for source in CONSOLE.glob("*.js"):
        shutil.copy(source, folder)
    (folder / "package.json").write_text('{"type": "module"}', "utf-8")
    (folder / "script.js").write_text(script, "utf-8")
    done = subprocess.run(
        [NODE or "node", "script.js"], cwd=folder, input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PLAIN = "prediction_id,label\na,7\nb,1\n"
AS_JSON = ['{"prediction_id":"a","label":"7"}', '{"prediction_id":"b","label":"1"}']
ALSO_PLAIN: dict[str, bytes] = {
    "UTF-8": PLAIN.encode(),
    "a byte order mark": PLAIN.encode("utf-8-sig"),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "CR": PLAIN.replace("\n", "\r").encode(),
    "no line break at the end": PLAIN.rstrip().encode(),
    "blank lines": PLAIN.replace("\n", "\n\n").encode(),
    "rows without a value": PLAIN.replace("b,1", ",\nb,1").encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "semicolons as Excel says them": f"sep=;\n{PLAIN.replace(',', ';')}".encode(),
    "quotes": b'"prediction_id","label"\n"a","7"\n"b","1"\n',
    "names in capitals": PLAIN.replace("prediction_id,label", " Prediction ID ,LABEL").encode(),
    "other names": PLAIN.replace("prediction_id,label", "id,ground_truth").encode(),
    "UTF-16 with a mark": PLAIN.encode("utf-16"),
    "UTF-16, big end first, with a mark": f"\ufeff{PLAIN}".encode("utf-16-be"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16, big end first, without a mark": PLAIN.encode("utf-16-be"),
    "JSON Lines": "\r\n".join(AS_JSON).encode(),
    "JSON": f'{{"items": [{AS_JSON[0]},\n {AS_JSON[1]}]}}'.encode(),
    "a list": f"[{AS_JSON[0]},\n{AS_JSON[1]}\n]".encode(),
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "The file is empty."),
    "line breaks alone": (b"\n \r\n", "The file has no line with text."),
    "one column": (b"abc\ndef\n", "Line 1 has one value only."),
    "latin-1": ("prediction_id,label\na,7\nb,é\n".encode("latin-1"), "Line 3 is not UTF-8"),
    "a spreadsheet": (b"PK\x03\x04 and so on", "This is a spreadsheet or an archive"),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "This file is no text"),
    "broken JSON": (b'{"items": [}', "The file is no JSON"),
    "JSON of something else": (b'{\n"label": "7"\n}', "The JSON has no list of ground truths"),
    "JSON with more beside": (
        b'{"items": [], "user_id": "a"}',
        "The JSON has the member \u201cuser_id\u201d beside items",
    ),
    "an endless line": (b"prediction_id,label\n" + b"7" * 1_200_000, "Line 2 is longer than 1000000 characters"),
    "names that never end": (b'"prediction_id,label\n' + b"a,7\n" * 9, "The names of the columns have a quote"),
}

MALFORMED: dict[str, tuple[str, list[tuple[int, str]]]] = {
    "a short row": ("prediction_id,label\na\n", [(2, "this row has 1 values, and the first row names 2")]),
    "a quote within a value": ('prediction_id,label\n"a"b,7\n"c""d",7\n', [(2, "a quote within a value must be")]),
    "a quote that is never closed": (
        'prediction_id,label,comment\na,7,"one\ntwo"\nb,"7\nc,7\n',
        [(4, "a quote is opened here and never closed")],
    ),
    "a decimal comma": ("prediction_id;value\na;3,2\nb;3.2\n", [(2, "value must be JSON")]),
    "broken JSON Lines": (
        '{"prediction_id": "a", "label": "7"}\n{\n[]\n7\n',
        [(2, "this is no JSON"), (3, ""), (4, "")],
    ),
    "an item that is no object": ('[{"label": "7"},\n7]', [(2, "this is no JSON object")]),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is read of each case."""
    cases = ALSO_PLAIN | {name: content for name, (content, _) in REFUSED.items()}
    cases |= {name: text.encode() for name, (text, _) in MALFORMED.items()} | OTHERS
    given = {name: base64.b64encode(content).decode() for name, content in cases.items()}
    answers: dict[str, Any] = run(tmp_path_factory.mktemp("console"), READ, given)
    assert len(answers) == len(ALSO_PLAIN) + len(REFUSED) + len(MALFORMED) + len(OTHERS)
    return answers


OTHERS: dict[str, bytes] = {
    "digits": b"prediction_id,value\na,12345678901234567890\nb,1e3\n",
    "digits in JSON": b'[{"prediction_id": "a", "value": [1, 12345678901234567890, "]"]}]',
    "lines": b'prediction_id,label,comment\na,7,"one\ntwo ""so"", three"\n\nb,1,\n',
    "unknown columns": b"key,what\na,7\n",
    "a column of no use": b"prediction_id,label,weight\na,7,3\n",
    "both ids and a column twice": b"prediction_id,inference_id,label,Label\na,,7,8\n,b,1,2\n",
    "many": b"prediction_id,label\n" + b"".join(b"%d,7\r\n" % number for number in range(30_000)),
}


@pytest.mark.parametrize("name", ALSO_PLAIN)
def test_the_same_truths_are_read_however_they_are_written(read: dict[str, Any], name: str) -> None:
    assert [item["text"] for item in read[name]["found"]] == AS_JSON


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_of_truths_is_refused_in_words(read: dict[str, Any], name: str) -> None:
    [(kind, message)] = read[name].items()
    assert kind == "Unreadable"
    assert message.startswith(REFUSED[name][1])


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_is_named_and_the_others_are_read(read: dict[str, Any], name: str) -> None:
    found = read[name]["found"]
    malformed = [(item["line"], item["malformed"]) for item in found if "malformed" in item]
    assert [line for line, _ in malformed] == [line for line, _ in MALFORMED[name][1]]
    for (_, said), (_, begins) in zip(malformed, MALFORMED[name][1], strict=True):
        assert said.startswith(begins)
    assert [item for item in found if "text" in item] or name == "a short row"


def test_a_number_keeps_the_digits_that_javascript_would_lose(read: dict[str, Any]) -> None:
    assert [item["text"] for item in read["digits"]["found"]] == [
        '{"prediction_id":"a","value":12345678901234567890}',
        '{"prediction_id":"b","value":1e3}',
    ]
    assert '[1, 12345678901234567890, "]"]' in read["digits in JSON"]["found"][0]["text"]


def test_a_row_over_several_lines_has_the_number_of_its_first(read: dict[str, Any]) -> None:
    found = read["lines"]["found"]
    assert [item["line"] for item in found] == [2, 5]
    assert json.loads(found[0]["text"])["comment"] == 'one\ntwo "so", three'
    assert json.loads(found[1]["text"]) == {"prediction_id": "b", "label": "1"}


def test_columns_that_nobody_knows_are_asked_for_or_not_used(read: dict[str, Any]) -> None:
    assert read["unknown columns"]["wrong"].startswith("Choose the column that says which prediction")
    assert json.loads(read["a column of no use"]["found"][0]["text"]) == {"prediction_id": "a", "label": "7"}
    both = [json.loads(item["text"]) for item in read["both ids and a column twice"]["found"]]
    assert both == [{"prediction_id": "a", "label": "7"}, {"inference_id": "b", "label": "1"}]


def test_a_file_of_several_slices_loses_no_line_and_counts_them_right(read: dict[str, Any]) -> None:
    found = read["many"]["found"]
    assert [item["line"] for item in found] == [*range(2, 30_002)]
    assert json.loads(found[-1]["text"])["prediction_id"] == "29999"


CELLS: dict[str, tuple[Any, str]] = {
    "text": ("seven", "seven"),
    "a comma": ("a,b", '"a,b"'),
    "a quote": ('say "so"', '"say ""so"""'),
    "a line break": ("a\nb", '"a\nb"'),
    "a space at its end": ("a ", '"a "'),
    "nothing": (None, ""),
    "zero": (0, "0"),
    "false": (False, "false"),
    "a negative number": (-0.5, "-0.5"),
    "a negative number as text": ("-1", "-1"),
    "an object": ({"a": "=1"}, '"{""a"":""=1""}"'),
    "a formula": ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
    "a plus": ("+cmd", "'+cmd"),
    "a minus": ("-2+3", "'-2+3"),
    "an at": ("@SUM(1)", "'@SUM(1)"),
    "a wide sign": ("\uff1d1", "'\uff1d1"),
    "a formula behind a tab": ("\t=1", "\"'\t'=1\""),
    "a formula behind a semicolon": ("a;=1", '"a;\'=1"'),
    "a formula behind a line break": ("a\r\n=1", '"a\r\n\'=1"'),
}


def test_a_cell_is_written_so_that_no_spreadsheet_runs_it(tmp_path: Path) -> None:
    rows = run(tmp_path, WRITTEN, [value for value, _ in CELLS.values()])

    written = dict(zip(CELLS, rows, strict=True))
    assert {name: row["text"] for name, row in written.items()} == {
        name: f"{cell}\r\n" for name, (_, cell) in CELLS.items()
    }
    changed = {name for name, row in written.items() if row["changed"]}
    assert changed == {name for name, (_, cell) in CELLS.items() if "'" in cell}

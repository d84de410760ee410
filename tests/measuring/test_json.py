"""The document of `fastconv compare --json`: what its schema says, for every kind of comparison."""

import json
from datetime import datetime

import pytest
from commands import FEW, MACHINE, full_results

from fastconv.measuring.comparison import Row
from fastconv.measuring.report.results import Total

pytest.importorskip("rich", reason="tables need rich")


def test_json_has_the_documented_keys(run):
    code, out, err = run(*FEW, "--stride", "2", "--padding", "1", "--layout", "NHWC", "--threads", "1", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document.keys() == {"format", "version", "complete", "date", "command", "machine", "cases", "totals"}
    assert (document["format"], document["version"], document["complete"]) == ("fastconv-compare", 1, True)
    assert document["machine"].keys() == {*MACHINE.keys(), "processor_share", "load_average"}
    assert document["machine"]["threads"] == 1
    (case,) = document["cases"]
    assert case.keys() == {
        *("name", "operation", "x_shape", "w_shape", "arguments", "layout", "dtype", "count", "flops", "bytes", "rows")
    }
    assert case["x_shape"] == [1, 3, 8, 8]
    assert case["arguments"] == {"stride": 2, "padding": 1}
    assert (case["layout"], case["dtype"], case["flops"]) == ("NHWC", "float32", 2 * 4 * 16 * 27)
    assert {row["implementation"] for row in case["rows"]} == {"loops", "reference"}
    assert set(case["rows"][0]) == set(Row.__dataclass_fields__)
    assert document["totals"] == []


KINDS = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "array": list,
    "object": dict,
}


def departures(value, schema, at="document"):
    """Where a value is not as a schema has it, in the few words that the schema of comparisons uses."""
    assert schema.keys() <= {"$schema", "title", "description", "type", "properties", "required", "items", "const", "enum"}
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{at} is {value!r}"]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    right = any(isinstance(value, KINDS[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds)
    if not right:
        return [f"{at} is {value!r}"]
    if isinstance(value, list):
        return [one for item in value for one in departures(item, schema["items"], f"{at}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    names = schema["properties"]
    found = [f"{at}.{name} is missing" for name in schema["required"] if name not in value]
    found += [f"{at}.{name} is not documented" for name in value if name not in names]
    return found + [one for name in value.keys() & names.keys() for one in departures(value[name], names[name], f"{at}.{name}")]


def test_json_is_as_its_schema_says(run):
    """Real documents of every kind, and one with a key too few, one too many and a value of another kind."""
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    documents = [json.loads(full_results(network).json()) for network in (None, "densenet121")]
    documents.append(json.loads(run(*FEW, "--padding", "same", "--json")[1]))
    pool = ["compare", "--op", "max_pool2d", "--shape", "1x2x8x8", "--kernel", "2", "--seconds", "0.01", "--json"]
    documents.append(json.loads(run(*pool)[1]))
    for document in documents:
        assert document["cases"][0]["rows"]
        assert departures(document, schema) == []
    assert documents[2]["command"].endswith("--padding same --json")
    assert datetime.fromisoformat(documents[2]["date"]).tzinfo is not None
    spoiled = documents[2]
    spoiled["cases"][0]["rows"][0] |= {"peer": 1, "extra": 0}
    del spoiled["machine"]["isa"]
    assert len(departures(spoiled, schema)) == 3


def test_version_1_keeps_the_keys_it_began_with(run):
    """Readers of an older document rely on them."""
    schema = json.loads(run("schema")[1])
    case = schema["properties"]["cases"]["items"]
    assert schema["properties"]["version"]["const"] == 1
    assert set(schema["required"]) >= {"format", "version", "complete", "machine", "cases", "totals"}
    assert set(case["required"]) >= {"name", "operation", "x_shape", "w_shape", "arguments", "layout", "dtype", "count", "rows"}
    assert set(case["properties"]["rows"]["items"]["required"]) == set(Row.__dataclass_fields__) - {"spread"}
    assert set(schema["properties"]["totals"]["items"]["required"]) == set(Total.__dataclass_fields__)


def test_json_is_strict_where_numbers_are_not_finite():
    results = full_results(None)
    results.cases[0].rows[0] = Row("fft", max_error=float("inf"), speedup=float("nan"))
    row = json.loads(results.json())["cases"][0]["rows"][0]
    assert (row["max_error"], row["speedup"]) == (None, None)

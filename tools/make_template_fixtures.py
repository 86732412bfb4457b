#!/usr/bin/env python3
"""Renders chat templates and expressions with Python's jinja2, for the tests of gateway/text/jinja.

Needs: pip install -r tools/requirements-text.txt (a virtual environment will do). Run from the repository root:
    python tools/make_template_fixtures.py
Reads  tests/gateway/text/jinja/testdata/templates/*.jinja and testdata/expressions.txt,
writes testdata/renderings.json (templates x conversations) and testdata/expressions.json.
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

DATA = pathlib.Path("tests/gateway/text/jinja/testdata")
NOW = datetime.datetime(2024, 7, 26, 9, 5, 3, 120450)


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    """The settings that Hugging Face renders chat templates with."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def raise_exception(message):
        raise Raised(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


class Raised(Exception):
    """A template's own raise_exception()."""


def render(env, source, variables):
    """The text, {"raised": message}, or None when the template fails otherwise."""
    try:
        return env.from_string(source).render(**variables)
    except Raised as raised:
        return {"raised": str(raised)}
    except Exception:  # any failure of the template: the test expects a failure too
        return None


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, now or in the next days.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City and country, such as Zürich, CH"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius",
                         "description": "Unit of the temperature"},
                "days": {"type": ["integer", "null"], "description": "How many days", "minimum": 1},
            },
            "required": ["place"],
        },
        "return": {"type": "object", "description": "Temperature and sky"},
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches <documents> & returns \"hits\".",
        "parameters": {
            "type": "object",
            "properties": {
                "terms": {"type": "array", "items": {"type": "string"}, "description": "Words"},
                "where": {
                    "type": "object",
                    "description": "Narrows the search.",
                    "properties": {
                        "since": {"type": "number", "description": "Year"},
                        "exact": {"type": "boolean", "default": False, "description": "No stems."},
                    },
                    "required": ["since"],
                    "additionalProperties": {"type": "string"},
                },
            },
            "required": ["terms"],
        },
    },
}
PAINT = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paints.",
        "parameters": {
            "type": "object",
            "properties": {
                "strokes": {"type": "array", "description": "What to draw, in order, from left to right.",
                            "items": {"type": "object", "properties": {
                                "at": {"type": "array", "items": {"type": "number"}},
                                "colour": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
                                "required": ["at"]}},
                "size": {"type": "integer", "minimum": -1, "maximum": 1e3, "default": 0},
                "Layers": {"type": ["string", "null"], "enum": ["top", "bottom"], "default": None,
                           "description": "Which"},
                "ratio": {"type": "number", "default": 1.50, "nullable": True, "description": ""},
            },
        },
    },
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


CALL = {"type": "function", "id": "abcdefghi",
        "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "x": 1.5}}}
CALL2 = {"type": "function", "id": "jklmnopqr",
         "function": {"name": "search", "arguments": {"terms": ["a", "b'c"], "where": None}}}

CONVERSATIONS = {
    "single": {"messages": [user("Hello, world!")]},
    "prompt": {"messages": [user("  padded \n")], "add_generation_prompt": True},
    "system": {"messages": [system("Be brief.\n"), user("Hi"), assistant(" Hello! "), user("Bye")],
               "add_generation_prompt": True},
    "multi": {"messages": [user("1+1?"), assistant("2"), user("2+2?"), assistant("4")]},
    "tools": {"messages": [system("Use tools."), user("Weather in Zürich?")],
              "tools": [WEATHER, SEARCH], "add_generation_prompt": True},
    "tool_result": {
        "messages": [
            user("Weather?"),
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "{\"sky\": \"clear\"}", "name": "get_weather",
             "tool_call_id": "abcdefghi"},
            assistant("It is clear."),
            user("Thanks"),
        ],
        "tools": [WEATHER], "add_generation_prompt": True,
    },
    "two_calls": {
        "messages": [
            user("Both?"),
            {"role": "assistant", "content": None, "tool_calls": [CALL, CALL2]},
            {"role": "tool", "content": "one", "tool_call_id": "abcdefghi"},
            {"role": "tool", "content": "two", "tool_call_id": "jklmnopqr"},
        ],
        "tools": [WEATHER, SEARCH],
    },
    "thinking": {
        "messages": [
            user("Q"),
            assistant("<think>\nhm\n</think>\n\nA"),
            user("<tool_response>x</tool_response>"),
            assistant("done", reasoning_content="\nbecause\n"),
        ],
        "enable_thinking": False, "add_generation_prompt": True,
    },
    "unicode": {"messages": [user("Ünïcödé 😀 ǆ ΑΣ ß 日本語\u2028\u200b"), assistant("<|im_end|> & \"q\" 'p' \\")]},
    "empty": {"messages": [user(""), assistant("")], "add_generation_prompt": True},
    "null": {"messages": [user("x"), assistant(None)], "add_generation_prompt": True},
    "none_at_all": {"messages": []},
    "parts": {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": " nice?"}]}],
        "add_generation_prompt": True},
    "extras": {
        "messages": [user("Cite.")],
        "documents": [{"title": "T", "text": "First."}, {"title": "U", "text": "Second."}],
        "controls": {"length": "short", "citations": True},
        "builtin_tools": ["search", "code_interpreter"], "date_string": "1 Jan 2025",
        "reasoning_effort": "high", "add_generation_prompt": True,
    },
    "same_role": {"messages": [user("a"), user("b")]},
    "assistant_first": {"messages": [assistant("Welcome."), user("Hi"), assistant("Hm"),
                                     assistant("Go on")]},
    "odd_role": {"messages": [user("a"), {"role": "critic", "content": "b"}]},
    "developer": {"messages": [{"role": "developer", "content": "Use /no_think."}, user("a /think")],
                  "add_generation_prompt": True, "enable_thinking": True},
    "string_arguments": {
        "messages": [
            system("/think Now."),
            user("Weather?"),
            assistant("I look.\n", reasoning_content="Which place?", tool_calls=[
                {"id": "functions.get_weather:0", "type": "function", "function": {
                    "name": "get_weather", "arguments": "{\"place\": \"Z\u00fcrich\", \"days\": 2}"}}]),
            {"role": "tool", "content": "{\"sky\": \"\u2601\"}", "tool_call_id": "functions.get_weather:0"},
        ],
        "tools": [WEATHER], "add_generation_prompt": True, "thinking": True,
    },
    "agent": {
        "messages": [
            user("Plan."), assistant("<think>a</think>Plan", tool_calls=[CALL2]),
            {"role": "tool", "name": "search", "content": "hit 1", "tool_call_id": "jklmnopqr"},
            assistant("", tool_calls=[CALL]),
            {"role": "tool", "name": "get_weather", "content": "rain", "tool_call_id": "abcdefghi"},
            assistant("<think>\nb\n</think>\n\nWet.", reasoning_content="b"), user("More?"),
            assistant("<think>c</think>", tool_calls=[CALL]),
            {"role": "tool", "name": "get_weather", "content": "sun", "tool_call_id": "abcdefghi"},
        ],
        "tools": [SEARCH, WEATHER], "add_generation_prompt": True, "thinking_budget": 512,
    },
    "typed_tools": {"messages": [user("Paint.")], "tools": [PAINT], "add_generation_prompt": True,
                    "thinking_budget": 0, "enable_thinking": False, "custom_tools": [PAINT]},
    "tool_content": {
        "messages": [
            user("x"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": {"content": {"n": 1e-7, "big": 2**53 + 1}}},
            {"role": "tool", "tool_call_id": "abcdefghi",
             "content": [{"type": "text", "text": "part"}, {"output": [1.0, None, True]}]},
        ],
    },
    "rag": {
        "messages": [system("Cite."), user("Who?")],
        "documents": [{"doc_id": 1, "title": "\u00c9t\u00e9", "text": "Sun & sea.\n"},
                      {"doc_id": "two", "title": "b\"c", "text": ""}],
        "tools": [WEATHER], "controls": {"citations": True, "hallucinations": False, "length": "long"},
        "citation_mode": "fast", "safety_mode": "strict", "add_generation_prompt": True,
    },
    "continued": {"messages": [user("Write."), assistant("<think>\nA poem\n</think>\nRoses are", prefix=True,
                                                       thinking="A poem", name="poet")],
                  "continue_final_message": True, "thinking": True, "add_generation_prompt": False},
    "system_parts": {"messages": [
        {"role": "system", "content": [{"type": "text", "text": " S "}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "t"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]},
                                          {"type": "text", "text": "a "}]},
        user("u")], "add_vision_id": True, "add_generation_prompt": True},
    "long": {"messages": [system("S" * 70)] + [
        turn for i in range(6) for turn in (user(f"Frage {i}: " + "\u00e4\u4e2d " * (i * i)),
                                            assistant(f"- {i}\n\t* b\r\n" + "z" * i))],
             "add_generation_prompt": True},
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

EXPRESSION_VARIABLES = {
    "s": "Hello, World", "e": "", "u": "Grüße, ΑΣ ßtraße ǆ", "n": 5, "f": 2.5, "l": [3, 1, 2],
    "ls": ["b", "A", "c"], "d": {"b": 1, "a": {"x": [1, 2]}, "items": "k"}, "t": True, "z": None,
    "users": [{"name": "Bob", "age": 3, "tags": ["x"]}, {"name": "alice", "age": 2},
              {"name": "Carl", "age": 3, "tags": []}],
    "multi": "line1\n  line2\n\nline4\r\nend\n", "neg": -7, "big": 1234567890123456789,
    "deep": {"a": [{"b": {"c": 1}}]},
}


def expressions():
    for line in (DATA / "expressions.txt").read_text("utf-8").split("\n"):
        if line and not line.startswith("# "):
            source = line.replace("⏎", "\n")
            tag = any(mark in source for mark in ("{{", "{%", "{#"))
            yield source if tag else "{{ " + source + " }}"


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=0, separators=(",", ":"))
    (DATA / name).write_text(text + "\n", "utf-8")


def main():
    env = environment()
    cases = []
    for path in sorted((DATA / "templates").glob("*.jinja")):
        source = path.read_text("utf-8")
        for name, variables in CONVERSATIONS.items():
            cases.append([path.name, name, render(env, source, {**TOKENS, **variables})])
    write("renderings.json",
          {"tokens": TOKENS, "conversations": CONVERSATIONS, "renderings": cases})
    rendered = [[source, render(env, source, EXPRESSION_VARIABLES)] for source in expressions()]
    write("expressions.json", {"variables": EXPRESSION_VARIABLES, "expressions": rendered})
    failing = sum(text is None for *_, text in cases)
    print(f"{len(cases)} renderings ({failing} failing), {len(rendered)} expressions")


if __name__ == "__main__":
    main()

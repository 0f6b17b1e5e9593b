"""The SQLite tools: what they answer, and that a statement reaches only its database, only for so long."""

# ruff: noqa: S608 - statements are put together here to attack the tools

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from agentflow import ToolDeniedError
from agentflow.errors import ConfigurationError
from agentflow_tools import sqlite


@pytest.fixture(scope="session")
def contents(tmp_path_factory):
    """Two databases as bytes, made once: one with people, a view and long texts, one with a secret."""
    folder = tmp_path_factory.mktemp("databases")
    scripts = {
        "people & co #1?%41.db": """
            CREATE TABLE people (name TEXT, age INTEGER, photo BLOB);
            INSERT INTO people VALUES ('Ann', 31, x'00ff'), ('Bob', 22, NULL), ('Größe', 1e999, NULL);
            CREATE VIEW adults AS SELECT name FROM people WHERE age > 30;
            CREATE TABLE texts (text TEXT);
            INSERT INTO texts SELECT printf('%.*c', 1000, 'x') FROM
                (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n);
        """,
        "secret.db": "CREATE TABLE secrets (text); INSERT INTO secrets VALUES ('the secret outside')",
    }
    for name, script in scripts.items():
        connection = sqlite3.connect(folder / name)
        connection.executescript(script)
        connection.close()
    return {name: (folder / name).read_bytes() for name in scripts}


@pytest.fixture
def path(tmp_path, contents):
    """A database whose name needs quoting, beside one that no statement may reach."""
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path / next(iter(contents))


@pytest.fixture
def tools(by_name, path):
    """Tools that may read."""
    return by_name(sqlite(path))


@pytest.fixture
def writable(by_name, path):
    """Tools that may write."""
    return by_name(sqlite(path, is_writable=True))


@pytest.fixture
def impatient(by_name, path):
    """Tools that may write, with little time."""
    return by_name(sqlite(path, is_writable=True, timeout_s=0.05))


@pytest.fixture
def unchanged(path):
    """Nothing in the folder changes during the test."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    yield
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def dump(path):
    """All of a database as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_tables_and_views_are_listed(tools):
    """Tables and views stand in the list, SQLite's own do not."""
    assert tools["list_tables"]() == {"tables": ["adults", "people", "texts"]}


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT name FROM people WHERE age < 30", [["Bob"]]),
        ("select count(*), min(age) from people;", [[3, 22]]),
        ("SELECT name FROM adults ORDER BY name", [["Ann"], ["Größe"]]),
        ("WITH p AS (SELECT name FROM people) SELECT upper(name) FROM p LIMIT 1", [["ANN"]]),
        ("SELECT p.name FROM people p JOIN people q ON p.age > q.age WHERE q.name = 'Ann'", [["Größe"]]),
        ("SELECT name, row_number() OVER (ORDER BY age) FROM people LIMIT 1", [["Bob", 1]]),
        ("VALUES (1, 2.5), ('a', NULL)", [[1, 2.5], ["a", None]]),
        ("SELECT photo FROM people WHERE photo IS NOT NULL", [["<2 bytes>"]]),
        ("SELECT 9e999, -9e999", [["Infinity", "-Infinity"]]),
        ("SELECT CAST(x'ff41' AS TEXT)", [["\ufffdA"]]),
        ("SELECT date('2026-03-14', '+7 days')", [["2026-03-21"]]),
        ("""SELECT json_extract('{"a": 5}', '$.a')""", [[5]]),
        ("PRAGMA table_info(adults)", [[0, "name", "TEXT", 0, None, 0]]),
        ("SELECT ';' -- ; a comment", [[";"]]),
        ("/* nothing */", []),
    ],
)
def test_queries_have_their_rows(tools, sql, rows):
    """Queries give their rows as plain JSON values."""
    result = tools["run_query"](sql=sql)
    assert result == {"rows": rows}
    json.dumps(result, allow_nan=False)


def test_columns_are_named_when_asked_for(by_name, path):
    """The names of the columns stand beside the rows."""
    tools = by_name(sqlite(path, columns=True))
    result = tools["run_query"](sql="SELECT name, age + 1 AS next FROM people LIMIT 1")
    assert result == {"columns": ["name", "next"], "rows": [["Ann", 32]]}


WRITES = [
    "INSERT INTO people VALUES ('Eve', 1, NULL)",
    "UPDATE people SET age = 0",
    "DELETE FROM people",
    "DELETE FROM people RETURNING name",
    "WITH x AS (SELECT 1) DELETE FROM people",
    "REPLACE INTO people VALUES ('Eve', 1, NULL)",
    "DROP TABLE people",
    "DROP VIEW adults",
    "CREATE TABLE x (a)",
    "CREATE INDEX i ON people (age)",
    "CREATE VIEW x AS SELECT 1",
    "ALTER TABLE people RENAME TO x",
    "SELECT * FROM json_each('[1]')",
    "UPDATE sqlite_master SET sql = ''",
]
NEVER = [
    "ATTACH '{folder}/secret.db' AS s",
    "ATTACH 'file:{folder}/secret.db?mode=ro' AS s",
    "ATTACH '{folder}/new.db' AS s",
    "ATTACH ':memory:' AS s",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{folder}/copy.db'",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode",
    "PRAGMA trusted_schema = ON",
    "PRAGMA temp_store_directory = '{folder}'",
    "PRAGMA database_list",
    "PRAGMA user_version = 7",
    "SELECT * FROM pragma_database_list",
    "SELECT load_extension('{folder}/evil.so')",
    "SELECT load_extension('{folder}/evil', 'init')",
    "SELECT fts3_tokenizer('simple', x'4141414141414141')",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT format('%1000000000d', 1)",
    "SELECT zeroblob(1000000000)",
    "SELECT randomblob(1000000000)",
    "SELECT sqlite_source_id()",
    "BEGIN",
    "BEGIN EXCLUSIVE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ANALYZE",
    "CREATE TEMP TABLE x (a)",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON people BEGIN DELETE FROM people; END",
    "CREATE TEMP TRIGGER t AFTER INSERT ON people BEGIN DELETE FROM people; END",
    "CREATE VIRTUAL TABLE x USING fts5 (a)",
    "EXPLAIN ATTACH '{folder}/new.db' AS s",
    "ALTER TABLE people ADD COLUMN x DEFAULT 1",
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("sql", WRITES + NEVER)
def test_reading_tools_deny_everything_else(tools, path, sql):
    """Read-only, no statement changes the database, opens another file or changes a setting."""
    with pytest.raises((ToolDeniedError, ValueError)) as caught:
        tools["run_query"](sql=sql.format(folder=path.parent))
    assert isinstance(caught.value, ToolDeniedError) or "VACUUM" in sql
    assert "allowed" in str(caught.value)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("sql", NEVER)
def test_writing_tools_deny_what_is_outside_the_tables(writable, path, sql):
    """Writable, a statement still opens no other file, changes no setting and leaves no trigger."""
    with pytest.raises((ToolDeniedError, ValueError), match=r"allowed|cannot VACUUM"):
        writable["run_query"](sql=sql.format(folder=path.parent))


@pytest.mark.parametrize("sql", WRITES[:-3])
def test_writing_tools_change_tables(writable, path, sql):
    """Asked for, statements that change tables do so."""
    before = dump(path)
    writable["run_query"](sql=sql)
    assert dump(path) != before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DELETE FROM people",
        "SELECT 1;SELECT 2",
        "DELETE FROM people; --",
        "COMMIT; DROP TABLE people",
        "SELECT 1; -- x\n; DROP TABLE people",
        "SELECT 1 /* ; */ ; DROP TABLE people",
    ],
)
def test_only_one_statement_runs(tools, sql):
    """A second statement, however it is hidden, does not run, nor does the first change anything."""
    with pytest.raises((ValueError, ToolDeniedError)):
        tools["run_query"](sql=sql)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("", "empty"),
        (" ;; ", "empty"),
        ("SELECT", "incomplete input"),
        ("HELLO", "syntax error"),
        ("SELECT nope FROM people", "no such column: nope"),
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELECT 1 \0 SELECT 2", "null character"),
        ("SELECT '\ud800'", "valid Unicode"),
        ("SELECT ?", "too many SQL variables"),
        ("SELECT '" + "x" * 10_001 + "'", "at most 10000"),
        ("SELECT " + "(" * 4_000 + "1" + ")" * 4_000, "SQLite says"),
        ("SELECT 1" + "+1" * 2_000, "Expression tree is too large"),
        ("SELECT " + ",".join("1" * 300), "too many columns"),
        ("SELECT 1" + " UNION SELECT 1" * 60, "too many terms"),
        ("SELECT a.text FROM texts a, texts b", "more than 100 rows"),
        ("SELECT " + ", ".join(["text"] * 50) + " FROM texts", "200000 characters"),
        ("SELECT group_concat(text) FROM (SELECT a.text FROM texts a, texts b)", "too big"),
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_what_cannot_be_answered_is_explained(tools, sql, told):
    """Mistakes and oversized statements or results are a short ValueError."""
    with pytest.raises(ValueError, match=told) as caught:
        tools["run_query"](sql=sql)
    assert len(str(caught.value)) < 400


def test_long_values_are_cut_with_a_count(tools):
    """A long text is given by its beginning and the number of characters left out."""
    (row,) = tools["run_query"](sql="SELECT replace(hex(text), '7', 'seven') FROM texts LIMIT 1")["rows"]
    assert len(row[0]) < 2_100
    assert row[0].endswith("… (4000 characters more)")


NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
GROWING = (
    "WITH RECURSIVE c (n, b) AS (SELECT 0, 'aaaaaaaaaaaa' UNION ALL SELECT n + 1, b || b FROM c WHERE n < 12), "
    "m AS (SELECT b, substr(b, 1, length(b) / 2) || 'z' AS s, substr(b, 1, 95) || 'z%' AS p FROM c WHERE n = 12) "
)
BOMBS = {
    "endless counting": NUMBERS + "SELECT count(*) FROM n",
    "endless sorting": NUMBERS + "SELECT i FROM n ORDER BY -i",
    "endless distinct": NUMBERS + "SELECT DISTINCT i % 1000003 FROM n LIMIT 1 OFFSET 1000002",
    "endless concatenation": NUMBERS + "SELECT group_concat(i) FROM n",
    "cross join": "SELECT count(*) FROM texts a, texts b, texts c, texts d, texts e",
    "growing rows": NUMBERS + ", g (t) AS (SELECT 'x' UNION ALL SELECT t || t FROM g) SELECT length(t) FROM g",
    "search in searches": GROWING + "SELECT " + "+".join(["instr(b, s)"] * 15) + " FROM m, texts, texts t",
    "patterns": GROWING + "SELECT " + "+".join(["(b LIKE '%' || p)"] * 8) + " FROM m, texts, texts t",
    "trimming": GROWING + "SELECT " + "+".join(["length(trim(b, substr(s, 1, 5000)))"] * 5) + " FROM m, texts, texts t",
    "trimming one text": (
        "WITH t AS (SELECT " + "replace(" * 4 + "'aaaaaaaaaa'" + ", 'a', 'aaaaaaaaaa')" * 4 + " AS a), "
        "b AS (SELECT a, replace(substr(a, 1, 8000), 'a', 'b') || 'a' AS s FROM t) "
        "SELECT " + ", ".join(["length(trim(a, s))"] * 5) + " FROM b, texts a, texts b, texts c, texts d"
    ),
    "replacing": GROWING + "SELECT " + "+".join(["length(replace(b, s, p))"] * 6) + " FROM m, texts, texts t",
}


@pytest.mark.slow
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped(impatient, name):
    """Endless recursion, cross joins and expensive functions end soon after the time limit."""
    start = time.process_time()
    with pytest.raises(ValueError, match=r"took longer|too big|more than 100 rows"):
        impatient["run_query"](sql=BOMBS[name])
    assert time.process_time() - start < 2


@pytest.mark.usefixtures("unchanged")
def test_a_stopped_write_changes_nothing(impatient):
    """A statement that reaches its time limit is undone."""
    with pytest.raises(ValueError, match="took longer"):
        impatient["run_query"](sql=NUMBERS.replace("WITH", "INSERT INTO texts WITH") + "SELECT i FROM n")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM texts AS a RETURNING (SELECT count(*) FROM people) + 1, 'x' FROM people",
        "INSERT INTO people SELECT name, age / 0, json('{') FROM people",
        "INSERT INTO texts SELECT text FROM texts RETURNING text || text || text",
        "INSERT OR ROLLBACK INTO people SELECT 'Eve', 1, json('[')",
    ],
)
def test_a_write_that_fails_changes_nothing(writable, sql):
    """A statement whose result cannot be given back is undone as a whole."""
    with pytest.raises(ValueError, match=r"SQLite says|characters"):
        writable["run_query"](sql=sql)


def test_a_writable_database_does_not_grow_past_its_size(by_name, path):
    """Writing stops at the size limit and leaves the database as it was."""
    tools = by_name(sqlite(path, is_writable=True, max_size_bytes=400_000))
    tools["run_query"](sql="INSERT INTO texts SELECT text FROM texts")
    with pytest.raises(ValueError, match="full"):
        tools["run_query"](sql="INSERT INTO texts SELECT a.text FROM texts a, texts b LIMIT 1000")
    assert tools["run_query"](sql="SELECT count(*) FROM texts") == {"rows": [[200]]}
    assert path.stat().st_size <= 400_000


def test_a_locked_database_is_told_and_not_waited_for(impatient, path):
    """While somebody else writes, a call gives up after its time limit."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match="locked"):
        impatient["run_query"](sql="DELETE FROM people")
    other.close()


def test_calls_from_several_threads_do_not_meet(tools):
    """Every call has its own connection, so threads can call at once."""
    results = []

    def ask():
        results.append(tools["run_query"](sql="SELECT count(*) FROM people"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"rows": [[3]]}] * 8


def test_a_hostile_schema_runs_nothing(by_name, tmp_path):
    """Views made by somebody else are held to the same functions and limits as the statement."""
    path = tmp_path / "hostile.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE VIEW people AS SELECT load_extension('/tmp/evil') AS name")
    connection.execute("CREATE VIEW bomb AS " + NUMBERS + "SELECT count(*) FROM n")
    connection.close()
    tools = by_name(sqlite(path, timeout_s=0.05))
    with pytest.raises(ToolDeniedError, match="load_extension"):
        tools["run_query"](sql="SELECT name FROM people")
    with pytest.raises(ValueError, match="took longer"):
        tools["run_query"](sql="SELECT * FROM bomb")


@pytest.mark.parametrize("content", [None, b"", b"this is no database, but it is long enough to look" * 9])
def test_what_is_no_database_is_an_error_at_once(tmp_path, content):
    """A missing file is not made, and a file of another kind is refused; an empty file is an empty database."""
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    if content == b"":
        assert sqlite(path)[0]() == {"tables": []}
        return
    with pytest.raises(ConfigurationError, match=r"x\.db"):
        sqlite(path)
    assert path.exists() == (content is not None)


@pytest.mark.parametrize(
    "limits", [{"max_rows": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_size_bytes": 0}]
)
def test_limits_must_be_positive(path, limits):
    """A limit that allows nothing is a mistake of the caller."""
    with pytest.raises(ConfigurationError, match="must be positive"):
        sqlite(path, **limits)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("trim('xxaxbxx', 'x')", "axb"),
        ("ltrim('xyaxy', 'yx')", "axy"),
        ("rtrim('xyaxy', 'yx')", "xya"),
        ("trim('  a ')", "a"),
        ("trim('aaa', 'a')", ""),
        ("trim(NULL, 'a')", None),
        ("trim('a', NULL)", None),
        ("trim(1001, 1)", "00"),
        ("trim('ünü', 'ü')", "n"),
        ("typeof(trim(11, 2))", "text"),
    ],
)
def test_trimming_does_what_sqlite_does(tools, sql, value):
    """The function in place of SQLite's, which takes ten seconds on long texts, answers as it does on short ones."""
    assert tools["run_query"](sql=f"SELECT {sql}") == {"rows": [[value]]}
    with closing(sqlite3.connect(":memory:")) as plain:
        assert plain.execute(f"SELECT {sql}").fetchone() == (value,)

#!/usr/bin/env python3
"""Writes slt/grids: every combination of a few features, over tables of a few rows.

The expected answers are computed here, by comparing each left row with each right row, in plain
Python, by someone who knows nothing of the engine: this file is a second reading of what the
join means. Run it from anywhere; it takes no arguments and always writes the same files.
"""

from functools import cmp_to_key
from itertools import product
from pathlib import Path

OUT = Path(__file__).parent / "slt" / "grids"
KINDS = ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI"]
OPS = [">=", ">", "<=", "<", "nearest"]


# --- The meaning -----------------------------------------------------------------------------


def in_reach(op, lt, rt, tolerance):
    """Whether the times match: the condition, then the distance."""
    if lt is None or rt is None:
        return False
    holds = {">=": lt >= rt, ">": lt > rt, "<=": lt <= rt, "<": lt < rt, "nearest": True}[op]
    return holds and (tolerance is None or abs(lt - rt) <= tolerance)


def keys_equal(left, right, keys):
    """keys: pairs (column, whether NULL equals NULL)."""
    for name, null_safe in keys:
        a, b = left[name], right[name]
        if a is None or b is None:
            if not (null_safe and a is None and b is None):
                return False
        elif a != b:
            return False
    return True


def candidates(left, rights, q):
    """The candidates of a left row, the one to choose first."""
    found = []
    for place, right in enumerate(rights):
        if (
            keys_equal(left, right, q.get("keys", []))
            and in_reach(q["op"], left["ts"], right["ts"], q.get("tolerance"))
            and q.get("where", lambda l, r: True)(left, right) is True
        ):
            found.append((place, right))
    last_wins = q["op"] in (">=", ">", "nearest")

    def closer(a, b):
        (place_a, right_a), (place_b, right_b) = a, b
        near = abs(left["ts"] - right_a["ts"]), abs(left["ts"] - right_b["ts"])
        if near[0] != near[1]:
            return -1 if near[0] < near[1] else 1
        if right_a["ts"] != right_b["ts"]:  # equally far, on either side: the earlier
            return -1 if right_a["ts"] < right_b["ts"] else 1
        for name, descending, nulls_first in q.get("ties", []):
            x, y = right_a[name], right_b[name]
            if x == y:
                continue
            if x is None or y is None:
                return -1 if (x is None) == nulls_first else 1
            return -1 if (x < y) != descending else 1
        return -1 if (place_a > place_b) == last_wins else 1

    return sorted(found, key=cmp_to_key(closer))


def answer(kind, lefts, rights, q):
    """The pairs (left row, right row) that come out, None where there is no row."""
    pairs, chosen = [], set()
    for left in lefts:
        found = candidates(left, rights, q)
        if kind in ("SEMI", "ANTI"):
            if bool(found) == (kind == "SEMI"):
                pairs.append((left, None))
        elif found:
            chosen.add(found[0][0])
            pairs.append((left, found[0][1]))
        elif kind in ("LEFT", "FULL"):
            pairs.append((left, None))
    if kind in ("RIGHT", "FULL"):
        pairs += [(None, r) for place, r in enumerate(rights) if place not in chosen]
    return pairs


# --- Writing ---------------------------------------------------------------------------------


def literal(value):
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)


def create(name, columns, rows):
    lines = [
        "  (" + ", ".join(literal(row[column.split()[0]]) for column in columns) + ")" for row in rows
    ]
    head = f"CREATE TABLE {name}({', '.join(columns)}) AS VALUES"
    return "statement ok\n" + head + "\n" + ",\n".join(lines) + "\n"


def condition(op, left="l.ts", right="r.ts"):
    return f"nearest({left}, {right})" if op == "nearest" else f"{left} {op} {right}"


def key_text(keys):
    return [f"l.{n} IS NOT DISTINCT FROM r.{n}" if safe else f"l.{n} = r.{n}" for n, safe in keys]


def shown(kind):
    """The rows of an answer as one text, in an order that no plan decides."""
    pair = "l.id" if kind in ("SEMI", "ANTI") else "coalesce(l.id, '-') || coalesce(r.id, '-')"
    return f"SELECT string_agg(p, ' ' ORDER BY p) FROM (SELECT {pair} AS p FROM l"


def rows_text(kind, pairs):
    one_sided = kind in ("SEMI", "ANTI")
    name = lambda row: row["id"] if row else "-"
    texts = [name(l) if one_sided else name(l) + name(r) for l, r in pairs]
    return " ".join(sorted(texts)) or "NULL"


def join(kind, q, on=(), duckdb=False):
    """The join and its clauses: kinds before and after ASOF, both places of the condition."""
    conjuncts = key_text(q.get("keys", [])) + list(on)
    written = condition(q["op"])
    if duckdb:
        conjuncts.insert(len(conjuncts) // 2, written)
    head = f"{kind} ASOF JOIN r" if duckdb else f"ASOF {kind} JOIN r"
    text = head if duckdb else f"{head} MATCH_CONDITION ({written})"
    if conjuncts:
        text += " ON " + " AND ".join(conjuncts)
    if q.get("tolerance") is not None:
        text += f" TOLERANCE {q['tolerance']}"
    if q.get("ties"):
        order = [
            f"r.{n}{' DESC' if desc else ''} NULLS {'FIRST' if first else 'LAST'}"
            for n, desc, first in q["ties"]
        ]
        text += " TIES BY " + ", ".join(order)
    return text


def query(kind, lefts, rights, q, on=(), duckdb=False):
    sql = f"{shown(kind)}\n  {join(kind, q, on, duckdb)})"
    return f"query T\n{sql}\n----\n{rows_text(kind, answer(kind, lefts, rights, q))}\n"


def write(name, about, setup, queries):
    """One file; the count is for the reader of the generator's output."""
    text = f"# {about}\n# Written by grids.py, which computed the answers.\n\n"
    text += "\n".join(setup) + "\n" + "\n".join(queries)
    (OUT / f"{name}.slt").write_text(text)
    return len(queries)


# --- The tables ------------------------------------------------------------------------------


def table(columns, *rows):
    return [dict(zip(columns.split(), row)) for row in rows]


LEFT = table(
    "id k k2 ts v",
    ("1", "A", 1, 10, 3),
    ("2", "A", None, 12, 1),
    ("3", "B", 1, 12, 5),
    ("4", "B", None, 12, None),
    ("5", None, 1, 11, 4),
    ("6", None, None, 15, 2),
    ("7", "C", 1, 11, 3),
    ("8", "A", 1, None, 2),
    ("9", "B", 1, 20, 0),
)
RIGHT = table(
    "id k k2 ts v known",
    ("a", "A", 1, 8, 3, 9),
    ("b", "A", None, 10, 2, 13),
    ("c", "B", 1, 12, 6, 12),
    ("d", "A", 1, 13, 4, 11),
    ("e", "B", None, 9, None, 10),
    ("f", None, 1, 11, 4, 11),
    ("g", None, None, 16, 1, 20),
    ("h", "D", 1, 11, 3, 11),
    ("i", "B", 1, None, 0, 5),
    ("j", "B", 1, 12, 1, 30),
    ("k", "A", None, 10, 5, 10),
)
L_COLUMNS = ["id TEXT", "k TEXT", "k2 INT", "ts INT", "v INT"]
R_COLUMNS = ["id TEXT", "k TEXT", "k2 INT", "ts INT", "v INT", "known INT"]
SETUP = [create("l", L_COLUMNS, LEFT), create("r", R_COLUMNS, RIGHT)]
KEY = [("k", False)]


def three(value, test):
    """A comparison in three-valued logic: NULL operands give NULL."""
    return None if any(v is None for v in value) else test(*value)


def either(a, b):
    return True if a is True or b is True else (None if a is None or b is None else False)


# --- The grids -------------------------------------------------------------------------------


def kinds():
    total = 0
    for tolerance, place in product([None, 0, 2], ["match_condition", "on"]):
        q = {"keys": KEY, "tolerance": tolerance}
        queries = [
            query(kind, LEFT, RIGHT, {**q, "op": op}, duckdb=place == "on")
            for kind, op in product(KINDS, OPS)
        ]
        said = "no_tolerance" if tolerance is None else f"tolerance_{tolerance}"
        about = f"Every kind under every condition, {said.replace('_', ' ')}, condition in {place.upper()}."
        total += write(f"kinds_{said}_{place}", about, SETUP, queries)
    queries = [query(kind, LEFT, RIGHT, {"op": op, "tolerance": t}) for kind, op, t in product(KINDS, OPS, [None, 1])]
    total += write("kinds_no_key", "Every kind under every condition, without a key.", SETUP, queries)
    return total


RESIDUALS = {
    "right": ("r.v > 2", lambda l, r: three((r["v"],), lambda v: v > 2)),
    "left": ("l.v >= 3", lambda l, r: three((l["v"],), lambda v: v >= 3)),
    "both": ("r.v <> l.v", lambda l, r: three((r["v"], l["v"]), lambda a, b: a != b)),
    "or": (
        "(r.v + l.v > 6 OR r.k2 IS NULL)",
        lambda l, r: either(three((r["v"], l["v"]), lambda a, b: a + b > 6), r["k2"] is None),
    ),
    "never": ("l.v + r.v < 0", lambda l, r: three((l["v"], r["v"]), lambda a, b: a + b < 0)),
    "bitemporal": ("r.known <= l.ts", lambda l, r: three((r["known"], l["ts"]), lambda a, b: a <= b)),
}


def residuals():
    total = 0
    for name, (text, where) in RESIDUALS.items():
        queries = [
            query(kind, LEFT, RIGHT, {"keys": KEY, "op": op, "where": where, "tolerance": tolerance}, on=[text])
            for kind, (op, tolerance) in product(KINDS, [(">=", None), ("<", None), ("nearest", None), ("<=", 2)])
        ]
        total += write(f"residual_{name}", f"Every kind with the predicate {text} on candidates.", SETUP, queries)
    return total


TIED = table(
    "id k ts seq w",
    ("a", "A", 10, 2, 1),
    ("b", "A", 10, 1, 1),
    ("c", "A", 10, None, 2),
    ("d", "B", 10, 1, None),
    ("e", "A", 10, 2, 0),
    ("f", "B", 10, 1, 5),
    ("g", "A", 12, 1, 1),
    ("h", "A", 12, 1, 1),
    ("i", "B", 12, None, None),
    ("j", "B", 12, None, 3),
)
TIES = [
    [],
    [("seq", False, False)],
    [("seq", False, True)],
    [("seq", True, True)],
    [("seq", True, False)],
    [("w", False, False), ("seq", True, False)],
    [("w", True, True), ("seq", False, True)],
]


def ties():
    setup = [create("l", L_COLUMNS, LEFT), create("r", ["id TEXT", "k TEXT", "ts INT", "seq INT", "w INT"], TIED)]
    queries = [
        query(kind, LEFT, TIED, {"keys": KEY, "op": op, "ties": order})
        for kind, order, op in product(["LEFT"], TIES, OPS)
    ]
    total = write("ties", "Ties as the common case: every condition under every tie order.", setup, queries)
    queries = [
        query(kind, LEFT, TIED, {"keys": keys, "op": op, "ties": order}, on=on)
        for (kind, keys), order, (op, on) in product(
            [("FULL", KEY), ("RIGHT", [])], TIES[::2], [(">", []), ("<=", []), ("nearest", [])]
        )
    ]
    total += write("ties_right_rows", "Ties: which right rows are left over.", setup, queries)
    late = lambda l, r: three((r["w"], l["v"]), lambda a, b: a <= b)
    queries = [
        query("LEFT", LEFT, TIED, {"keys": KEY, "op": op, "ties": order, "where": late}, on=["r.w <= l.v"])
        for order, op in product(TIES, OPS)
    ]
    total += write("ties_residual", "Ties among the candidates that a predicate leaves.", setup, queries)
    return total


SPARSE = table(
    "id k ts a b",
    ("p", "A", 8, 80, None),
    ("q", "A", 9, None, 91),
    ("r", "A", 10, None, None),
    ("s", "A", 12, 120, None),
    ("t", "A", 13, None, 131),
    ("u", "B", 12, None, 121),
    ("v", "B", 12, 122, None),
    ("w", "B", 17, None, None),
    ("x", None, 11, 110, 111),
)


def ignore_nulls():
    setup = [create("l", L_COLUMNS, LEFT), create("r", ["id TEXT", "k TEXT", "ts INT", "a INT", "b INT"], SPARSE)]

    def one(kind, q, on=()):
        rows = []
        for left in LEFT:
            found = [right for _, right in candidates(left, SPARSE, q)]
            if kind in ("SEMI", "ANTI"):
                if bool(found) == (kind == "SEMI"):
                    rows.append(left["id"])
            elif found or kind == "LEFT":
                first = lambda name: next((r[name] for r in found if r[name] is not None), "-")
                rows.append(f"{left['id']}:{first('a')}:{first('b')}")
        shape = "l.id" if kind in ("SEMI", "ANTI") else "concat(l.id, ':', coalesce(CAST(r.a AS TEXT), '-'), ':', coalesce(CAST(r.b AS TEXT), '-'))"
        sql = f"SELECT string_agg(p, ' ' ORDER BY p) FROM (SELECT {shape} AS p FROM l\n  {join(kind, q, on)} IGNORE NULLS)"
        return f"query T\n{sql}\n----\n{' '.join(sorted(rows)) or 'NULL'}\n"

    queries = [
        one(kind, {"keys": KEY, "op": op, "tolerance": tolerance})
        for kind, op, tolerance in product(["LEFT", "INNER"], OPS, [None, 1, 3])
    ]
    total = write("ignore_nulls", "IGNORE NULLS: each right column from its own row.", setup, queries)
    known = lambda l, r: three((r["a"], l["ts"]), lambda a, ts: a <= ts * 10)
    queries = [
        one(kind, {"keys": keys, "op": op, "where": where, "tolerance": 4}, on)
        for kind, (keys, where, on), op in product(
            ["LEFT", "SEMI", "ANTI"],
            [([], lambda l, r: True, []), (KEY, lambda l, r: either(r["a"] is None, known(l, r)), ["(r.a IS NULL OR r.a <= l.ts * 10)"])],
            [">=", "<", "nearest"],
        )
    ]
    total += write("ignore_nulls_residual", "IGNORE NULLS with predicates, and kinds without right columns.", setup, queries)
    return total


def null_safe_keys():
    total = 0
    for name, keys in {
        "one": [("k", True)],
        "first": [("k", True), ("k2", False)],
        "second": [("k", False), ("k2", True)],
        "both": [("k", True), ("k2", True)],
    }.items():
        queries = [
            query(kind, LEFT, RIGHT, {"keys": keys, "op": op, "tolerance": tolerance}, duckdb=tolerance is None)
            for kind, (op, tolerance) in product(KINDS, [(">=", None), ("<", 3), ("nearest", None)])
        ]
        about = f"IS NOT DISTINCT FROM: {name} of the keys takes NULL for equal to NULL."
        total += write(f"null_safe_keys_{name}", about, SETUP, queries)
    return total


DISTANCES = {
    "r.ts >= l.ts - 3": (">=", 3),
    "l.ts - r.ts <= 3": (">=", 3),
    "l.ts <= r.ts + 3": (">", 3),
    "3 >= l.ts - r.ts": (">", 3),
    "r.ts <= l.ts + 2": ("<=", 2),
    "r.ts - l.ts <= 2": ("<", 2),
    "l.ts >= r.ts - 0": ("<=", 0),
}


def distances():
    queries = []
    for (text, (op, tolerance)), kind, duckdb in product(DISTANCES.items(), ["LEFT", "FULL", "ANTI"], [False, True]):
        q = {"keys": KEY, "op": op}
        where = lambda l, r, t=tolerance: abs(l["ts"] - r["ts"]) <= t
        queries.append(query(kind, LEFT, RIGHT, {**q, "where": where}, on=[text], duckdb=duckdb))
    # Exclusive limits are predicates, not tolerances.
    for (text, op), kind in product([("l.ts - r.ts < 2", ">="), ("r.ts > l.ts - 2", ">"), ("r.ts - l.ts < 2", "<=")], ["LEFT", "RIGHT", "SEMI"]):
        q = {"keys": KEY, "op": op, "where": lambda l, r: abs(l["ts"] - r["ts"]) < 2}
        queries.append(query(kind, LEFT, RIGHT, q, on=[text]))
    return write("distances", "A limit on the distance written as a predicate is a tolerance.", SETUP, queries)


# As-of types: how the n-th step of a line is written, and how a distance of n steps is.
TIMES = {
    "Int8": ("{}", "{}"),
    "UInt64": ("1844674407370955{:04}", "{}"),
    "Int64": ("-9223372036854775808 + {}", "{}"),
    "Float32": ("{}.25", "{}"),
    "Float64": ("{}e10", "{}e10"),
    "Decimal128(38, 2)": ("'99999999999999999999999999999999{:04}.25'", "{}"),
    "Decimal256(70, 3)": ("'{}.125'", None),
    "Date32": ("'2024-02-{:02}'", "INTERVAL '{} days'"),
    "Date64": ("'2023-12-{:02}'", "{}d"),
    "Time32(s)": ("'23:{:02}:59'", "{}m"),
    "Time64(ns)": ("'{:02}:00:00.000000001'", "{}h"),
    "Timestamp(s)": ("'2024-02-28T23:59:{:02}'", "{}s"),
    "Timestamp(ms)": ("'1969-12-31T23:59:59.0{:02}'", "{}T"),
    'Timestamp(µs, "+02:00")': ("'9999-12-31T23:59:59.9999{:02}'", "{}U"),
    "Timestamp(ns)": ("'2262-04-11T23:47:16.8547757{:02}'", "INTERVAL '{} nanoseconds'"),
    'Timestamp(ns, "America/New_York")': ("'2024-11-03T05:{:02}:00Z'", "INTERVAL '{} minutes'"),
    "Duration(ms)": (None, "INTERVAL '{} milliseconds'"),
    "Utf8": ("'t{:03}'", None),
    "LargeUtf8": ("'ü{:03}'", None),
    "Utf8View": ("'a text that is not stored inline {:03}'", None),
    "Binary": ("'{:03}'", None),
}


def cast(value, type_name):
    return f"arrow_cast({value}, '{type_name}')"


def typed(name, rows, type_name, text):
    value = (lambda n: f"arrow_cast(CAST({n} AS BIGINT), 'Duration(ms)')") if text is None else (lambda n: cast(text.format(n), type_name))
    lines = [f"  ('{r['id']}', '{r['k']}', {value(r['ts']) if r['ts'] is not None else cast('NULL', type_name)})" for r in rows]
    return create_typed(name, lines)


def create_typed(name, lines):
    return f"statement ok\nCREATE TABLE {name} AS SELECT * FROM (VALUES\n" + ",\n".join(lines) + "\n) AS rows(id, k, ts)\n"


def as_of_types():
    lefts = table("id k ts", ("1", "A", 10), ("2", "A", 15), ("3", "B", 12), ("4", "B", None), ("5", "A", 21))
    rights = table(
        "id k ts", ("a", "A", 10), ("b", "A", 13), ("c", "B", 14), ("d", "A", None), ("e", "A", 17), ("f", "B", 10), ("g", "A", 10)
    )
    total = 0
    for type_name, (text, tolerance) in TIMES.items():
        setup = [typed("l", lefts, type_name, text), typed("r", rights, type_name, text)]
        queries = []
        for kind, op, reach in [
            ("LEFT", ">=", None), ("FULL", "<", None), ("LEFT", "nearest", None),
            ("LEFT", ">", 3), ("ANTI", "<=", 2), ("FULL", "nearest", 2),
        ]:
            if tolerance is None and (op == "nearest" or reach is not None):
                continue
            q = {"keys": KEY, "op": op, "tolerance": reach}
            expected = rows_text(kind, answer(kind, lefts, rights, q))
            written = join(kind, {**q, "tolerance": tolerance and reach and tolerance.format(reach)})
            queries.append(f"query T\n{shown(kind)}\n  {written})\n----\n{expected}\n")
        name = "".join(c if c.isalnum() else "_" for c in type_name.lower().replace("µ", "u")).strip("_")
        while "__" in name:
            name = name.replace("__", "_")
        total += write(f"as_of_{name}", f"As-of columns of type {type_name}.", setup, queries)
    return total


# Key types: four different values.
KEYS = {
    "Boolean": ["true", "false", "false", "true"],
    "Int8": ["-128", "127", "0", "1"],
    "UInt64": ["18446744073709551615", "0", "18446744073709551614", "9223372036854775808"],
    "Float64": ["0.1", "1e308", "'-inf'", "'inf'"],
    "Float32": ["0.5", "-2", "3", "16777216"],
    "Decimal128(10, 2)": ["1.10", "1.11", "-1.10", "0"],
    "Decimal256(60, 0)": ["1", "'100000000000000000000000000000000000000000000000000'", "'100000000000000000000000000000000000000000000000001'", "0"],
    "Utf8": ["''", "'a'", "'A'", "'ä'"],
    "LargeUtf8": ["''", "'a'", "'b'", "'ab'"],
    "Utf8View": ["'short'", "'a text that is longer than twelve 1'", "'a text that is longer than twelve 2'", "''"],
    "Binary": ["''", "'a'", "'b'", "'ab'"],
    "BinaryView": ["'x'", "'longer than twelve bytes a'", "'longer than twelve bytes b'", "''"],
    "LargeBinary": ["'x'", "'y'", "'xy'", "''"],
    "Dictionary(Int8, Utf8)": ["'x'", "'y'", "'xy'", "''"],
    "Dictionary(UInt32, Utf8View)": ["'x'", "'y'", "'xy'", "''"],
    "Dictionary(Int32, Int64)": ["1", "2", "3", "4"],
    "Date32": ["'2024-01-01'", "'1969-12-31'", "'0001-01-01'", "'9999-12-31'"],
    "Time64(ns)": ["'00:00:00'", "'23:59:59.999999999'", "'00:00:00.000000001'", "'12:00:00'"],
    "Timestamp(ns)": ["'2024-01-01'", "'1970-01-01'", "'1970-01-01T00:00:00.000000001'", "'2262-01-01'"],
    'Timestamp(s, "UTC")': ["'2024-01-01'", "'1970-01-01'", "'1969-12-31'", "'2262-01-01'"],
    "Struct": ["named_struct('a', 1, 'b', 'x')", "named_struct('a', 1, 'b', 'y')", "named_struct('a', 2, 'b', 'x')", "named_struct('a', 2, 'b', 'y')"],
    "List": ["[1, 2]", "[1]", "[2, 1]", "[1, 2, 3]"],
}


def key_types():
    lefts = table("id k ts", ("1", 0, 10), ("2", 1, 10), ("3", 2, 10), ("4", 3, 10), ("5", None, 10), ("6", 0, 5))
    rights = table(
        "id k ts", ("a", 1, 9), ("b", 0, 8), ("c", 2, 11), ("d", None, 10), ("e", 3, 7), ("f", 0, 3), ("g", 2, 4), ("h", None, 4)
    )
    total, parts = 0, []
    for type_name, values in KEYS.items():
        nested = type_name in ("Struct", "List")

        def rows(name, source):
            one = lambda k: values[k] if nested else cast(values[k], type_name)
            null = lambda: f"nullif({values[0]}, {values[0]})" if nested else cast("NULL", type_name)
            lines = [f"  ('{r['id']}', {null() if r['k'] is None else one(r['k'])}, {r['ts']})" for r in source]
            return create_typed(name, lines)

        same = lambda row: {**row, "k": None if row["k"] is None else values[row["k"]]}
        ls, rs = [same(l) for l in lefts], [same(r) for r in rights]
        queries = [
            query(kind, ls, rs, {"keys": [("k", safe)], "op": op})
            for kind, op, safe in [("LEFT", ">=", False), ("FULL", "<=", True), ("ANTI", "nearest", False)]
        ]
        parts.append((type_name, [rows("l", lefts), rows("r", rights)], queries))
    for at in range(0, len(parts), 4):
        few = parts[at : at + 4]
        drop = "statement ok\nDROP TABLE l\n\nstatement ok\nDROP TABLE r\n"
        blocks = []
        for i, (type_name, setup, queries) in enumerate(few):
            blocks.append(f"# {type_name}\n" + "\n".join(([drop] if i else []) + setup + queries))
        total += sum(len(queries) for _, _, queries in few)
        text = f"# Keys of type {', '.join(name for name, _, _ in few)}.\n# Written by grids.py, which computed the answers.\n\n"
        (OUT / f"keys_{at // 4 + 1}.slt").write_text(text + "\n".join(blocks))
    return total


def main():
    for old in OUT.glob("*.slt"):
        old.unlink()
    grids = [kinds, residuals, ties, ignore_nulls, null_safe_keys, distances, as_of_types, key_types]
    print(sum(grid() for grid in grids), "queries")


if __name__ == "__main__":
    main()

"""The ledger's tables, for either database: a row for each job of a folder, and a tally that triggers keep by state."""

from __future__ import annotations

from dataclasses import fields

from covaria.operations.ledger.rows import Row

COLUMNS = tuple(field.name for field in fields(Row))
LOCK = 0x636F7661726961
"""PostgreSQL's advisory lock under which the tables are made."""
_KINDS = {"gpu_s": "DOUBLE PRECISION", "cpu_s": "DOUBLE PRECISION", "bytes": "BIGINT"}


def _tables(text: str) -> str:
    """Texts are compared byte by byte: `text` says how."""
    columns = ", ".join(f"{name} {_KINDS.get(name, text)} NOT NULL" for name in COLUMNS)
    return f"""
CREATE TABLE IF NOT EXISTS jobs (
    {columns}, seen DOUBLE PRECISION NOT NULL, current INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (out, job_id)
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (current, status, stage, job_class, since);
CREATE INDEX IF NOT EXISTS by_time ON jobs (submitted_at);
CREATE TABLE IF NOT EXISTS tally (
    stage {text} NOT NULL, status {text} NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (stage, status)
);
"""


_COUNT_OUT = "UPDATE tally SET count = count - OLD.current WHERE stage = OLD.stage AND status = OLD.status;"
_COUNT_IN = """INSERT INTO tally VALUES (NEW.stage, NEW.status, NEW.current)
        ON CONFLICT (stage, status) DO UPDATE SET count = tally.count + NEW.current;"""

SQLITE = f"""{_tables("TEXT")}
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON jobs BEGIN
    {_COUNT_IN}
END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE OF stage, status, current ON jobs BEGIN
    {_COUNT_OUT}
    {_COUNT_IN}
END;
PRAGMA user_version = 1;
"""

POSTGRES = f"""{_tables('TEXT COLLATE "C"')}
CREATE OR REPLACE FUNCTION covaria_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        {_COUNT_OUT}
    END IF;
    {_COUNT_IN}
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION covaria_label(view text, name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN view::json -> 'origin' -> 'metadata' ->> name;
EXCEPTION WHEN data_exception OR feature_not_supported THEN
    RETURN NULL;  -- letters that no text can hold
END $$;
CREATE OR REPLACE TRIGGER added AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION covaria_tally();
CREATE OR REPLACE TRIGGER changed AFTER UPDATE OF stage, status, current ON jobs
    FOR EACH ROW EXECUTE FUNCTION covaria_tally();
"""

-- Accounts and keys, the audit trail, and what calls used.

PRAGMA application_id = 0x4b75726f;

-- AUTOINCREMENT: the id of a deleted account is never given again, or its usage would
-- become somebody else's.
CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    email         TEXT NOT NULL,
    email_folded  TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    plan          TEXT NOT NULL,
    active        INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    password_hash TEXT,
    created_at    REAL NOT NULL
);

-- A revoked key stays: usage is listed by its label. ``models`` is a JSON array of patterns.
CREATE TABLE keys (
    id                  TEXT PRIMARY KEY NOT NULL,
    account_id          INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    label               TEXT NOT NULL,
    digest              BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    prefix              TEXT NOT NULL,
    last_four           TEXT NOT NULL,
    models              TEXT,
    requests_per_minute INTEGER CHECK (requests_per_minute > 0),
    daily_tokens        INTEGER CHECK (daily_tokens > 0),
    expires_at          REAL,
    admin               INTEGER NOT NULL CHECK (admin IN (0, 1)),
    created_at          REAL NOT NULL,
    revoked_at          REAL
);

CREATE INDEX keys_by_account ON keys (account_id);

-- ``detail`` is a JSON object; never a secret.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      REAL NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
);

-- One row a request. No foreign keys: usage outlives its account.
CREATE TABLE usage (
    request_id        TEXT PRIMARY KEY NOT NULL,
    day               TEXT NOT NULL,
    started_at        REAL NOT NULL,
    account_id        INTEGER NOT NULL,
    key_id            TEXT NOT NULL,
    model             TEXT NOT NULL,
    upstream          TEXT NOT NULL,
    client_protocol   TEXT NOT NULL,
    upstream_protocol TEXT NOT NULL,
    status            INTEGER NOT NULL,
    outcome           TEXT NOT NULL,
    prompt            INTEGER NOT NULL,
    completion        INTEGER NOT NULL,
    cache_read        INTEGER NOT NULL,
    cache_write       INTEGER NOT NULL,
    reasoning         INTEGER NOT NULL,
    charged           INTEGER NOT NULL,
    estimated         INTEGER NOT NULL,
    streamed          INTEGER NOT NULL,
    duration_ms       INTEGER NOT NULL,
    ttft_ms           INTEGER
);

CREATE INDEX usage_by_day ON usage (day, account_id);

-- The sums of ``usage``, kept in the same transactions.
CREATE TABLE usage_daily (
    day         TEXT NOT NULL,
    account_id  INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    model       TEXT NOT NULL,
    requests    INTEGER NOT NULL,
    prompt      INTEGER NOT NULL,
    completion  INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    reasoning   INTEGER NOT NULL,
    charged     INTEGER NOT NULL,
    estimated   INTEGER NOT NULL,
    PRIMARY KEY (day, account_id, key_id, model)
) WITHOUT ROWID;

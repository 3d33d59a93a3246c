-- Checksums of rows, sums by the hour, and what the ledger notes about itself.

-- CRC-32 of the row as the journal held it; NULL in rows of an older version.
ALTER TABLE usage ADD COLUMN checksum INTEGER;

-- The sums of everybody, by the hour in which requests began. Few rows, however many
-- accounts there are: reports over all of them stay quick. ``hour``: 2030-12-31T23:00Z.
CREATE TABLE usage_hourly (
    day         TEXT NOT NULL,
    hour        TEXT NOT NULL,
    model       TEXT NOT NULL,
    requests    INTEGER NOT NULL,
    prompt      INTEGER NOT NULL,
    completion  INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    reasoning   INTEGER NOT NULL,
    charged     INTEGER NOT NULL,
    estimated   INTEGER NOT NULL,
    PRIMARY KEY (day, hour, model)
) WITHOUT ROWID;

INSERT INTO usage_hourly
    SELECT day, strftime('%Y-%m-%dT%H:00Z', CAST(started_at AS INTEGER), 'unixepoch'), model, count(*),
        sum(prompt), sum(completion), sum(cache_read), sum(cache_write), sum(reasoning),
        sum(charged), sum(estimated)
    FROM usage GROUP BY 1, 2, 3;

-- ``detail_from``: the first day whose rows are all here; older ones were let go.
CREATE TABLE ledger_facts (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;

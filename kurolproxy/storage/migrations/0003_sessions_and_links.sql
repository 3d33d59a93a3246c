-- Who is logged in to the dashboard, and links that can be used once.

-- ``digest`` is SHA-256 of the token in the cookie, which is kept nowhere. ``seen_at`` may be
-- some minutes behind: it is written now and then.
CREATE TABLE sessions (
    digest     BLOB PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
    id         TEXT NOT NULL UNIQUE,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX sessions_by_account ON sessions (account_id);

-- ``digest`` is SHA-256 of the token in the link. ``setup`` and ``invite`` make an account,
-- ``password`` and ``login`` are for one that exists. ``first``: good only as long as there is
-- no active admin. ``ended_at``: when it was used, revoked or replaced.
CREATE TABLE links (
    digest     BLOB PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
    id         TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('setup', 'invite', 'password', 'login')),
    account_id INTEGER REFERENCES accounts (id) ON DELETE CASCADE,
    email      TEXT NOT NULL,
    plan       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    first      INTEGER NOT NULL CHECK (first IN (0, 1)),
    created_at REAL NOT NULL,
    created_by TEXT NOT NULL,
    expires_at REAL NOT NULL,
    ended_at   REAL,
    CHECK ((account_id IS NULL) = (kind IN ('setup', 'invite')))
) WITHOUT ROWID;

CREATE INDEX links_by_account ON links (account_id);

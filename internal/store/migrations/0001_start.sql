-- Times are unix milliseconds, 0 for "never". Hashes are hex SHA-256.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE person (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    folded      TEXT NOT NULL UNIQUE,
    role        TEXT NOT NULL,
    password    TEXT NOT NULL DEFAULT '',
    created_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL DEFAULT 0,
    disabled_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE session (
    hash       TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    epoch      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
);
CREATE INDEX session_user ON session (user_id);
CREATE INDEX session_epoch ON session (epoch);

CREATE TABLE token (
    id         TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    role       TEXT NOT NULL,
    epoch      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL DEFAULT 0,
    used_at    BIGINT NOT NULL DEFAULT 0,
    used_from  TEXT NOT NULL DEFAULT '',
    revoked_at BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at = 0 AND kind = 'api';
CREATE INDEX token_user ON token (user_id);
CREATE INDEX token_epoch ON token (epoch);

CREATE TABLE failure (
    key     TEXT PRIMARY KEY,
    failed  BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);

CREATE TABLE event (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    principal TEXT NOT NULL,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    detail    TEXT NOT NULL
);
CREATE INDEX event_kind ON event (kind, id);

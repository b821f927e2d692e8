-- People beside the owner, links, scopes, and the proof of a password.

ALTER TABLE person ADD COLUMN skeleton TEXT NOT NULL DEFAULT '';
ALTER TABLE person ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX person_skeleton ON person (skeleton);

ALTER TABLE session ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN proved_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX session_seen ON session (seen_at, hash);

ALTER TABLE token ADD COLUMN scope TEXT NOT NULL DEFAULT '';
CREATE INDEX token_live ON token (created_at, id) WHERE revoked_at = 0;
DROP INDEX token_name;
CREATE UNIQUE INDEX token_name ON token (user_id, name) WHERE revoked_at = 0 AND kind = 'api';

CREATE TABLE link (
    id         TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    role       TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    name       TEXT NOT NULL,
    made_by    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    uses       BIGINT NOT NULL,
    used_at    BIGINT NOT NULL DEFAULT 0,
    revoked_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX link_user ON link (user_id);

CREATE INDEX event_principal ON event (principal, id);

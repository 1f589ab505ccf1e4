-- The permissions that tools ask for (source document 004): who was asked for what, and who decided it.
--
-- tool_permissions is a projection of the mcp: streams, one row for each permission from its permission_request on, written in the
-- same transaction and rebuilt from the log when asked. The row is the whole state of a permission: answers are decided on it, so
-- a session with many statuses is not read again for each, and what waits when the server stops is found here when it starts.

CREATE TABLE tool_permissions (
    session_id             TEXT    NOT NULL,   -- the tool session, of the stream mcp:{session_id}
    permission_id          TEXT    NOT NULL,   -- unique within its session
    tool_name              TEXT    NOT NULL,   -- which tool wants to act
    parameters             TEXT    NOT NULL,   -- JSON object: with what; secrets are "[redacted]"
    risk_level             TEXT    NOT NULL CHECK (risk_level IN ('low', 'medium', 'high')),
    -- expired: nobody answered in time; cleared: taken back by who asked
    status                 TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired', 'cleared')),
    reason                 TEXT    NOT NULL,   -- what was said with the answer; '' when nothing was
    actor                  TEXT    NOT NULL,   -- who answered; 'timeout' when nobody did; '' while pending
    requested_at           TEXT    NOT NULL,   -- UTC, ISO-8601
    expires_within_seconds REAL    NOT NULL,   -- how long it waits for an answer
    expires_at             TEXT    NOT NULL,   -- UTC, ISO-8601: when no answer means no
    ended_at               TEXT    NOT NULL,   -- UTC, ISO-8601: when it was answered or ended otherwise; '' while pending
    requested_seq          INTEGER NOT NULL,   -- seq of the request
    ended_seq              INTEGER NOT NULL,   -- seq of what ended it; 0 while pending
    last_seq               INTEGER NOT NULL,   -- this row is true at that seq
    PRIMARY KEY (session_id, permission_id)
) STRICT, WITHOUT ROWID;

-- What a session waits for, and whose time runs out next; answered permissions, which are most, are in neither.
CREATE INDEX tool_permissions_pending ON tool_permissions (session_id, requested_seq) WHERE status = 'pending';
CREATE INDEX tool_permissions_due ON tool_permissions (expires_at) WHERE status = 'pending';

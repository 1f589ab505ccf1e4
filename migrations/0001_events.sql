-- The log: one append-only table, the identity of this file, and views for people who read it with plain SQL.
--
-- seq is decided inside the write transaction and never reused: AUTOINCREMENT keeps the highest one ever given even when
-- retention has emptied the table. (stream, seq) has its own index because a resume must be a seek, not a sort.

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,  -- place in the whole log; the cursor of every reader
    stream     TEXT    NOT NULL,                   -- kind:id
    revision   INTEGER NOT NULL,                   -- place in the stream: 1, 2, 3 ... without gaps
    event_id   TEXT    NOT NULL UNIQUE,            -- the publisher's id, or a UUIDv7
    event_type TEXT    NOT NULL,
    timestamp  TEXT    NOT NULL,                   -- UTC, ISO-8601, milliseconds, Z: when it was appended
    source     TEXT    NOT NULL,                   -- who published it
    payload    TEXT    NOT NULL,                   -- a JSON object, compact
    digest     BLOB    NOT NULL,                   -- SHA-256 over the stream's previous digest and this event's canonical JSON
    demand_id  TEXT GENERATED ALWAYS AS (payload ->> '$.demand_id') VIRTUAL,   -- for readers; not indexed
    channel_id TEXT GENERATED ALWAYS AS (payload ->> '$.channel_id') VIRTUAL,  -- for readers; not indexed
    UNIQUE (stream, revision)
) STRICT;

CREATE INDEX events_by_stream ON events (stream, seq);

CREATE TABLE log_meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    epoch       TEXT    NOT NULL,            -- identity of this file; a cursor is only good within one epoch
    created_at  TEXT    NOT NULL,            -- UTC, ISO-8601
    trimmed_seq INTEGER NOT NULL DEFAULT 0,  -- retention has removed events up to and including this seq
    checked_at  TEXT                         -- when /health last wrote here; proves that the file can be written
) STRICT;

INSERT INTO log_meta (id, epoch, created_at)
VALUES (1, lower(hex(randomblob(8))), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

CREATE TRIGGER events_are_immutable BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'events are immutable: append a new one instead');
END;

CREATE TRIGGER events_are_kept BEFORE DELETE ON events
WHEN OLD.seq > (SELECT trimmed_seq FROM log_meta)
BEGIN
    SELECT raise(ABORT, 'events are kept: only retention removes them, oldest first');
END;

CREATE TRIGGER epoch_is_fixed BEFORE UPDATE OF epoch, created_at ON log_meta
BEGIN
    SELECT raise(ABORT, 'the epoch of a log never changes');
END;

-- One row per stream, newest activity first when ordered by last_seq.
CREATE VIEW streams AS
SELECT stream                                    AS stream,
       substr(stream, 1, instr(stream, ':') - 1) AS kind,
       count(*)                                  AS events,
       max(revision)                             AS revision,
       min(timestamp)                            AS started_at,
       max(timestamp)                            AS updated_at,
       max(seq)                                  AS last_seq
FROM events
GROUP BY stream;

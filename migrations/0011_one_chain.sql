-- A log that proves itself: a CRC for every row, one digest chain over the whole log, the place of what was removed, signed heads.
--
-- This script makes the tables. A file that holds events is not changed by it: the program writes a new file beside it with all
-- migrations, verifies the old digests, moves every event into the new chain, checks the result and renames it; the old file is
-- kept (server/eventlog/rewrite.py). So the script may drop the old table.
--
-- There is no index on (stream, revision): revisions are dense by the write transaction, and `check` verifies it. The index on
-- stream ends in the rowid, which is seq, so a resume is a seek without a sort. Only ids that publishers chose are indexed.

DROP VIEW streams;
DROP TABLE events;
DROP TABLE log_meta;

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,  -- place in the whole log; the cursor of every reader
    stream     TEXT    NOT NULL,                   -- kind:id
    revision   INTEGER NOT NULL,                   -- place in the stream: 1, 2, 3 ... without gaps
    event_id   TEXT,                               -- the publisher's id; NULL: evt-<epoch>-<seq>
    event_type TEXT    NOT NULL,
    timestamp  TEXT    NOT NULL,                   -- UTC, ISO-8601, milliseconds, Z: when it was appended
    source     TEXT    NOT NULL,                   -- what its publisher says of itself
    actor      TEXT,                               -- who appended it, as authenticated; NULL where nobody is asked
    payload    TEXT    NOT NULL,                   -- a JSON object, compact
    crc        INTEGER NOT NULL,                   -- CRC-32 over the canonical JSON
    digest     BLOB    NOT NULL,                   -- SHA-256 over the digest before in the log and the SHA-256 of the canonical JSON
    demand_id  TEXT GENERATED ALWAYS AS (payload ->> '$.demand_id') VIRTUAL,   -- for readers; not indexed
    channel_id TEXT GENERATED ALWAYS AS (payload ->> '$.channel_id') VIRTUAL   -- for readers; not indexed
) STRICT;

CREATE INDEX events_by_stream ON events (stream);
CREATE UNIQUE INDEX events_by_event_id ON events (stream, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE log_meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    created_at  TEXT    NOT NULL,            -- UTC, ISO-8601
    trimmed_seq INTEGER NOT NULL DEFAULT 0,  -- retention has removed events up to and including this seq
    checked_at  TEXT                         -- when /health last wrote here; proves that the file can be written
) STRICT;

INSERT INTO log_meta (id, created_at) VALUES (1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

-- The line of epochs: one at creation, another where a loss was accepted. A cursor is good within one epoch, and in an older
-- one up to where the next began.
CREATE TABLE histories (
    epoch    TEXT    NOT NULL UNIQUE,        -- 16 hexadecimal digits; in derived event_ids
    from_seq INTEGER PRIMARY KEY             -- the first seq of the epoch
) STRICT;

INSERT INTO histories (epoch, from_seq) VALUES (lower(hex(randomblob(8))), 1);

-- What retention has removed, and what was lost and accepted: seqs without events.
CREATE TABLE gaps (
    from_seq    INTEGER PRIMARY KEY,         -- first seq without an event
    through_seq INTEGER NOT NULL,            -- last one, inclusive
    digest      BLOB    NOT NULL,            -- of the last event in it: where the chain goes on
    checks      BLOB                         -- 3 bytes for every seq: the check digits of its event; NULL: not known
) STRICT;

-- Heads of the chain, signed with [integrity] key_file. Somebody else keeps copies; `check --against` compares.
CREATE TABLE heads (
    seq       INTEGER PRIMARY KEY,
    digest    BLOB    NOT NULL,              -- of the event at seq
    epoch     TEXT    NOT NULL,
    signed_at TEXT    NOT NULL,              -- UTC, ISO-8601
    signature BLOB    NOT NULL               -- Ed25519
) STRICT;

CREATE TRIGGER events_are_immutable BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'events are immutable: append a new one instead');
END;

CREATE TRIGGER events_are_kept BEFORE DELETE ON events
WHEN OLD.seq > (SELECT trimmed_seq FROM log_meta)
BEGIN
    SELECT raise(ABORT, 'events are kept: only retention removes them, oldest first');
END;

CREATE TRIGGER epochs_are_fixed BEFORE UPDATE ON histories
BEGIN
    SELECT raise(ABORT, 'an epoch of a log never changes');
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

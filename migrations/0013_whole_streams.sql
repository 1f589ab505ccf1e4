-- Retention by whole streams: what is known of a stream that was trimmed, and which event says so of each gap.
--
-- A stream is trimmed from its beginning, at last whole. Its row keeps the name, so that revisions go on where they ended, and
-- the type of the last event that went, which of a whole one is its outcome. Each pass of retention appends log.trimmed to
-- system:log, with a SHA-256 over its gaps.

CREATE TABLE trimmed_streams (
    stream      TEXT    PRIMARY KEY,          -- kind:id
    through_seq INTEGER NOT NULL,             -- its events up to here are gone, this one was the last of them
    revision    INTEGER NOT NULL,             -- of that event
    event_type  TEXT    NOT NULL,             -- of that event; '': trimmed by an earlier release
    timestamp   TEXT    NOT NULL,             -- of that event; '': trimmed by an earlier release
    kind        TEXT    GENERATED ALWAYS AS (substr(stream, 1, instr(stream, ':') - 1)) VIRTUAL
) STRICT, WITHOUT ROWID;

-- How far streams of a kind were trimmed at most: one seek for every reader that follows a kind.
CREATE INDEX trimmed_streams_by_kind ON trimmed_streams (kind, through_seq);

ALTER TABLE gaps ADD COLUMN event_seq INTEGER;  -- of its log.trimmed; 0: an earlier release's retention; NULL: not retention's

ALTER TABLE log_meta ADD COLUMN clock_confirmed_at TEXT;  -- UTC, ISO-8601: when somebody said that the wall clock is right

UPDATE gaps SET event_seq = 0 WHERE through_seq <= (SELECT trimmed_seq FROM log_meta);

INSERT INTO trimmed_streams (stream, through_seq, revision, event_type, timestamp)
SELECT stream, min(min(seq) - 1, (SELECT trimmed_seq FROM log_meta)), min(revision) - 1, '', ''
FROM events
GROUP BY stream
HAVING min(revision) > 1;

-- From here on trimmed_seq is the highest seq that retention has removed; what it has removed is in gaps.
DROP TRIGGER events_are_kept;

CREATE TRIGGER events_are_kept BEFORE DELETE ON events
WHEN OLD.seq > coalesce((SELECT through_seq FROM gaps WHERE from_seq <= OLD.seq ORDER BY from_seq DESC LIMIT 1), 0)
BEGIN
    SELECT raise(ABORT, 'events are kept: only retention removes them, and leaves a gap');
END;

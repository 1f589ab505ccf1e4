-- Generations: texts that several agents write together, in runs (source document 003).
--
-- runs is a projection of the run: streams, one row from run_started on, written in the same transaction and rebuilt from the log
-- when asked. A run has a hundred pieces of text for every event of another type, so only the first piece of an agent touches the
-- row: the texts themselves, and where the stream of a run that is running stands, are read from the log. Of the state of a session
-- nothing more is stored: it is its newest run.

CREATE TABLE runs (
    run_id      TEXT    PRIMARY KEY,        -- the id in its stream, run:{run_id}
    mode        TEXT    NOT NULL CHECK (mode IN ('nova', 'loomi')),
    status      TEXT    NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    reason      TEXT,                       -- why it has failed or was cancelled; NULL otherwise
    session_id  TEXT,                       -- of whose conversation it is a part; NULL when of none
    prompt      TEXT    NOT NULL,           -- what was asked for
    language    TEXT    NOT NULL,           -- of the prompt: zh or en
    agents      TEXT    NOT NULL CHECK (json_valid(agents)),  -- JSON list in the order of the plan: see run_texts
    percent     INTEGER NOT NULL,           -- 0 to 100: agents that have ended
    stage       INTEGER NOT NULL,           -- of the agent that ended last; 0 before
    completed   INTEGER NOT NULL,           -- agents that have completed
    total       INTEGER NOT NULL,           -- agents
    partial     INTEGER NOT NULL CHECK (partial IN (0, 1)),   -- 1: it has a result although an agent failed
    degraded    INTEGER NOT NULL CHECK (degraded IN (0, 1)),  -- 1: no model wrote it, or a part of it
    continues   TEXT,                       -- the run that it goes on from; NULL when from none
    resumes     INTEGER NOT NULL,           -- how often it went on after the server had stopped
    created_at  TEXT    NOT NULL,           -- UTC, ISO-8601: when it was started
    updated_at  TEXT    NOT NULL,           -- UTC, ISO-8601: its newest event that is not a piece of text
    ended_at    TEXT,                       -- UTC, ISO-8601; NULL while it is running
    created_seq INTEGER NOT NULL,           -- seq of run_started; the cursor of the list
    last_seq    INTEGER NOT NULL,           -- seq of its newest event that is not a piece of text
    revision    INTEGER NOT NULL            -- of that event
) STRICT;

-- The list of runs, newest first: of all, of one status (also how many are running), of one session.
CREATE INDEX runs_by_creation ON runs (created_seq);
CREATE INDEX runs_by_status ON runs (status, created_seq);
CREATE INDEX runs_by_session ON runs (session_id, created_seq) WHERE session_id IS NOT NULL;

-- What each agent of each run has written, as it is to be read: without what was discarded before a retry or a restart. Filter by
-- run_id, which is looked up.
CREATE VIEW run_texts AS
SELECT r.run_id                         AS run_id,
       a.key + 1                        AS place,        -- 1 for the first agent of the plan
       a.value ->> '$.name'             AS agent,
       a.value ->> '$.task_description' AS task,         -- what it is there for
       a.value ->> '$.stage'            AS stage,        -- 1, 2 …; those of one stage write at the same time
       a.value ->> '$.status'           AS status,       -- waiting, running, retrying, completed or failed
       a.value ->> '$.retries'          AS retries,      -- how often it has tried again
       a.value ->> '$.error_type'       AS error_type,   -- why it tries again or has failed; '' otherwise
       a.value ->> '$.written_by'       AS written_by,   -- the model, or template; '' before its first piece
       a.value ->> '$.degraded'         AS degraded,     -- 1: no model wrote it
       (SELECT group_concat(c.content, '')
        FROM (
            SELECT e.payload ->> '$.content' AS content
            FROM (
                SELECT coalesce(max(d.seq), 0) AS seq
                FROM events AS d
                WHERE d.stream = 'run:' || r.run_id
                  AND CASE d.event_type
                      WHEN 'agent_start' THEN d.payload ->> '$.agent' = a.value ->> '$.name'
                      WHEN 'retrying' THEN d.payload ->> '$.agent' = a.value ->> '$.name' AND d.payload ->> '$.discards_text' = 1
                      WHEN 'run_resumed' THEN a.value ->> '$.name' IN (SELECT value FROM json_each(d.payload, '$.restarts'))
                      ELSE 0 END
            ) AS began
            JOIN events AS e ON e.stream = 'run:' || r.run_id AND e.seq > began.seq AND e.event_type = 'llm_chunk'
            WHERE e.payload ->> '$.agent' = a.value ->> '$.name' AND json_type(e.payload, '$.content') = 'text'
            ORDER BY e.seq
        ) AS c)                         AS text          -- NULL before its first piece
FROM runs AS r, json_each(r.agents) AS a;

-- Negotiations between agents: who is a sub-negotiation of what, and views that show who offered, proposed and agreed.
--
-- A missing capability is negotiated as a demand of its own, so demands form trees; lists show the roots and, when asked, the
-- children of one. The coordinator continues every open demand after a restart, in the order of their creation.
--
-- Anybody may append anything to a demand's stream. So the views take nothing for granted: a number that is no number and a
-- list that is no list are NULL, and JSON is only taken apart where json_type has looked at it. They read the streams of demands
-- alone, because the streams of agents hold copies of the same events. They go out from the table demands, so that a demand_id
-- is looked up in an index, also where views are joined by it. Lists are JSON, for json_each; sentences are for people.

ALTER TABLE demands ADD COLUMN parent_demand_id TEXT;           -- whose sub-negotiation it is; NULL: somebody asked for it

ALTER TABLE demands ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;  -- 0 for a root, 1 for its sub-negotiations, 2 for theirs ...

-- The list of demands, newest first, is a walk backwards over the roots.
CREATE INDEX demands_roots ON demands (created_seq) WHERE parent_demand_id IS NULL;

CREATE INDEX demands_by_parent ON demands (parent_demand_id, created_seq) WHERE parent_demand_id IS NOT NULL;

-- What a restarted coordinator goes on with, whatever its phase; ended demands, which are most, are not in it.
DROP INDEX demands_open;
CREATE INDEX demands_open ON demands (created_seq) WHERE status = 'processing';

DROP VIEW negotiations;
DROP VIEW offers;
DROP VIEW negotiation_timeline;

-- One row per demand: how far its negotiation is, who took part and how it ended. The last event of an ended demand is its
-- outcome (the log refuses any after it), so that is a look-up by seq.
CREATE VIEW negotiations AS
SELECT d.demand_id        AS demand_id,
       d.surface_demand   AS demand,            -- what was asked for, in one line
       d.user_id          AS user_id,
       d.parent_demand_id AS parent_demand_id,  -- NULL for a root
       d.status           AS status,            -- processing, finalized, failed or cancelled
       d.phase            AS phase,             -- finer than status
       d.current_round    AS rounds,            -- the round that it is in, or ended in
       d.created_at       AS started,           -- UTC, ISO-8601
       CASE WHEN d.status <> 'processing' THEN d.updated_at END AS ended,  -- UTC, ISO-8601; NULL while open
       d.updated_at       AS last_activity,     -- UTC, ISO-8601
       CASE d.status
           WHEN 'finalized' THEN 'agreed' || CASE WHEN json_type(o.payload, '$.proposal.missing') = 'array' THEN
               coalesce(', still missing: ' || (
                   SELECT group_concat(m.value, ', ') FROM json_each(o.payload, '$.proposal.missing') AS m WHERE m.type = 'text'
               ), '') ELSE '' END
           WHEN 'failed' THEN 'failed: ' || coalesce(o.payload ->> '$.reason', 'no reason given')
           WHEN 'cancelled' THEN 'cancelled: ' || coalesce(o.payload ->> '$.reason', 'no reason given')
       END                AS outcome,           -- for people; NULL while open
       CASE WHEN d.status IN ('failed', 'cancelled') THEN o.payload ->> '$.reason' END
                          AS outcome_reason,    -- why it failed or was cancelled; NULL while open and when agreed
       (SELECT count(DISTINCT a.value)
        FROM events AS e, json_each(e.payload, '$.agent_ids') AS a
        WHERE e.stream = 'demand:' || d.demand_id
          AND e.event_type = 'towow.demand.broadcast'
          AND json_type(e.payload, '$.agent_ids') = 'array'
          AND a.type = 'text') AS participants,  -- how many agents were invited
       (SELECT count(*)
        FROM events AS e
        WHERE e.stream = 'demand:' || d.demand_id
          AND e.event_type = 'towow.offer.submitted') AS offers,  -- how many offers were made
       CASE WHEN d.status = 'finalized' AND json_type(o.payload, '$.accepted_by') = 'array' THEN (
           SELECT json_group_array(a.value) FROM json_each(o.payload, '$.accepted_by') AS a WHERE a.type = 'text'
       ) END              AS accepted_by        -- JSON list of the ids that said yes to the end; NULL unless agreed
FROM demands AS d
LEFT JOIN events AS o ON o.seq = d.last_seq;

-- Every offer that an agent made.
CREATE VIEW offers AS
SELECT d.demand_id                        AS demand_id,
       e.payload ->> '$.agent_id'         AS agent_id,
       e.payload ->> '$.name'             AS name,
       e.payload ->> '$.offer.content'    AS content,       -- what the agent says
       CASE WHEN json_type(e.payload, '$.offer.capabilities') = 'array'
            THEN e.payload -> '$.offer.capabilities' END AS capabilities,  -- JSON list: what it covers
       CASE WHEN json_type(e.payload, '$.offer.terms.price') IN ('integer', 'real')
            THEN e.payload ->> '$.offer.terms.price' END AS price,  -- in `currency`; NULL when none was named
       e.payload ->> '$.offer.terms.currency' AS currency,  -- CNY, USD, EUR, GBP or JPY
       CASE WHEN json_type(e.payload, '$.offer.terms') = 'object'
            THEN e.payload -> '$.offer.terms' END AS terms,  -- JSON object: all conditions, the price among them
       e.timestamp                        AS timestamp,     -- UTC, ISO-8601
       e.seq                              AS seq,
       e.payload -> '$.offer'             AS offer          -- JSON: the whole offer
FROM demands AS d
JOIN events AS e ON e.stream = 'demand:' || d.demand_id AND e.event_type = 'towow.offer.submitted';

-- Every proposal of every round, and how it was answered. The answers are counted by a window over proposals and answers
-- together: one sort for a whole history, and still only one stream when a demand_id is asked for.
CREATE VIEW proposals AS
SELECT p.demand_id                        AS demand_id,
       p.proposal_id                      AS proposal_id,
       CASE WHEN json_type(p.payload, '$.round') = 'integer' THEN p.payload ->> '$.round' END AS round,  -- 1, 2, 3 ...
       p.payload ->> '$.summary'          AS summary,       -- who does what, for people
       CASE WHEN json_type(p.payload, '$.assignments') = 'array' THEN (
           SELECT json_group_array(a.value ->> '$.agent_id')
           FROM json_each(p.payload, '$.assignments') AS a
           WHERE CASE a.type WHEN 'object' THEN json_type(a.value, '$.agent_id') END = 'text'
       ) END                              AS agents,        -- JSON list of the agent ids that have something to do
       CASE WHEN json_type(p.payload, '$.missing') = 'array' THEN (
           SELECT json_group_array(m.value) FROM json_each(p.payload, '$.missing') AS m WHERE m.type = 'text'
       ) END                              AS missing,       -- JSON list of the capabilities that nobody covers
       CASE WHEN json_type(p.payload, '$.total_price') IN ('integer', 'real')
            THEN p.payload ->> '$.total_price' END AS total_price,  -- in `currency`; NULL when there is no one sum
       p.payload ->> '$.currency'         AS currency,      -- CNY, USD, EUR, GBP or JPY
       p.accepts                          AS accepts,       -- how many said yes, the user included
       p.revises                          AS revises,       -- how many wanted it changed
       p.rejects                          AS rejects,       -- how many said no
       coalesce((SELECT o.event_type = 'towow.proposal.finalized' AND o.payload ->> '$.proposal_id' = p.proposal_id
                 FROM events AS o
                 WHERE o.seq = p.last_seq), 0) AS is_final,  -- 1: this is what was agreed
       p.timestamp                        AS timestamp,     -- UTC, ISO-8601
       p.seq                              AS seq
FROM (
    SELECT demand_id, last_seq, seq, event_type, timestamp, payload, proposal_id,
           count(*) FILTER (WHERE decision = 'accept') OVER answers AS accepts,
           count(*) FILTER (WHERE decision = 'revise') OVER answers AS revises,
           count(*) FILTER (WHERE decision = 'reject') OVER answers AS rejects
    FROM (
        SELECT d.demand_id, d.last_seq, e.seq, e.event_type, e.timestamp, e.payload,
               e.payload ->> '$.proposal_id' AS proposal_id,
               CASE WHEN e.event_type = 'towow.proposal.feedback' AND json_type(e.payload, '$.proposal_id') = 'text'
                    THEN e.payload ->> '$.decision' END AS decision
        FROM demands AS d
        JOIN events AS e ON e.stream = 'demand:' || d.demand_id
            AND e.event_type IN ('towow.proposal.distributed', 'towow.proposal.feedback')
    )
    WINDOW answers AS (PARTITION BY demand_id, proposal_id)
) AS p
WHERE +p.event_type = 'towow.proposal.distributed';  -- +: a join builds its index by demand_id, not by this

-- Every event of every demand with one readable sentence.
CREATE VIEW negotiation_timeline AS
SELECT d.demand_id         AS demand_id,
       e.seq               AS seq,
       e.timestamp         AS timestamp,  -- UTC, ISO-8601
       e.event_type        AS event_type,
       e.source            AS source,
       CASE e.event_type
           WHEN 'towow.demand.understood' THEN 'asked for: ' || coalesce(e.payload ->> '$.surface_demand', '?')
           WHEN 'towow.filter.completed' THEN
               CASE WHEN json_type(e.payload, '$.candidates') = 'array' THEN
                   json_array_length(e.payload, '$.candidates') || ' found: ' || coalesce((
                       SELECT group_concat(
                           CASE WHEN c.type = 'object' THEN coalesce(c.value ->> '$.name', c.value ->> '$.agent_id') END, ', ')
                       FROM json_each(e.payload, '$.candidates') AS c), 'nobody')
               ELSE 'agents were looked for' END
           WHEN 'towow.demand.broadcast' THEN
               CASE WHEN json_type(e.payload, '$.agent_ids') = 'array'
                   THEN 'the demand was sent to ' || json_array_length(e.payload, '$.agent_ids') || ' of them'
                   ELSE 'the demand was sent to the agents' END
           WHEN 'towow.offer.submitted' THEN
               coalesce(e.payload ->> '$.name', e.payload ->> '$.agent_id', 'an agent') || ' made an offer'
               || coalesce(': ' || (e.payload ->> '$.offer.content'), '')
               || CASE WHEN json_type(e.payload, '$.offer.terms.price') IN ('integer', 'real')
                      THEN ' (' || (e.payload ->> '$.offer.terms.price')
                           || coalesce(' ' || (e.payload ->> '$.offer.terms.currency'), '') || ')'
                      ELSE '' END
           WHEN 'towow.offer.declined' THEN
               coalesce(e.payload ->> '$.name', e.payload ->> '$.agent_id', 'an agent') || ' declined'
               || coalesce(': ' || nullif(e.payload ->> '$.reason', ''), '')
           WHEN 'towow.gap.identified' THEN 'missing: ' || coalesce(e.payload ->> '$.gap', e.payload ->> '$.capability', '?')
           WHEN 'towow.subnet.triggered' THEN
               'a sub-negotiation began: ' || coalesce(e.payload ->> '$.subnet_id', '?')
               || coalesce(' for ' || (e.payload ->> '$.capability'), '')
           WHEN 'towow.subnet.completed' THEN
               'a sub-negotiation ended: ' || coalesce(e.payload ->> '$.subnet_id', '?')
               || coalesce(' was ' || replace(e.payload ->> '$.outcome', '_', ' '), '')
           WHEN 'towow.proposal.distributed' THEN
               'a proposal was distributed' || coalesce(' in round ' || (e.payload ->> '$.round'), '')
               || coalesce(': ' || (e.payload ->> '$.summary'), '')
           WHEN 'towow.proposal.feedback' THEN
               CASE WHEN json_type(e.payload, '$.agent_id') IS NOT 'text' AND json_type(e.payload, '$.user_id') = 'text'
                   THEN 'the user ' || (e.payload ->> '$.user_id')
                   ELSE coalesce(e.payload ->> '$.name', e.payload ->> '$.agent_id', 'an agent') END
               || ' answered: ' || coalesce(e.payload ->> '$.decision', '?')
               || coalesce(' (' || nullif(e.payload ->> '$.comment', '') || ')', '')
           WHEN 'towow.proposal.finalized' THEN
               'agreed' || CASE WHEN json_type(e.payload, '$.proposal.missing') = 'array' THEN
                   coalesce(', still missing: ' || (
                       SELECT group_concat(m.value, ', ')
                       FROM json_each(e.payload, '$.proposal.missing') AS m
                       WHERE m.type = 'text'
                   ), '') ELSE '' END
           WHEN 'towow.negotiation.failed' THEN
               'failed: ' || coalesce(e.payload ->> '$.reason', 'no reason given')
               || coalesce(' (' || nullif(e.payload ->> '$.message', '') || ')', '')
           WHEN 'towow.negotiation.cancelled' THEN 'cancelled: ' || coalesce(e.payload ->> '$.reason', 'no reason given')
           ELSE e.event_type
       END                 AS what        -- one sentence, for people
FROM demands AS d
JOIN events AS e ON e.stream = 'demand:' || d.demand_id;

-- The demands as a list, and the negotiations as people read them.
--
-- demands is a projection of the demand: streams, one row from towow.demand.understood on, written in the same transaction
-- and rebuilt from the log when asked. It holds what lists and the coordinator's start need; the rest of a demand is folded
-- from its stream. The views read the log itself, so they also show what no projection knows.

CREATE TABLE demands (
    demand_id      TEXT    PRIMARY KEY,      -- the id in its stream, demand:{demand_id}
    channel_id     TEXT    NOT NULL,         -- collab-..., the name that source 000 gives the negotiation
    user_id        TEXT    NOT NULL,         -- who asked; 'anonymous' when unsaid
    surface_demand TEXT    NOT NULL,         -- what is asked for, in one line
    status         TEXT    NOT NULL,         -- processing, finalized, failed or cancelled
    phase          TEXT    NOT NULL,         -- understood, filtered, ...; finer than status
    current_round  INTEGER NOT NULL,         -- 1, 2, 3 ...
    created_at     TEXT    NOT NULL,         -- UTC, ISO-8601: when it was understood
    updated_at     TEXT    NOT NULL,         -- UTC, ISO-8601: when its newest event was appended
    created_seq    INTEGER NOT NULL,         -- seq of the understanding; the cursor of the list
    last_seq       INTEGER NOT NULL          -- seq of its newest event: this row is true at that seq
) STRICT;

CREATE INDEX demands_by_creation ON demands (created_seq);

-- What a restarted coordinator goes on with; ended demands, which are most, are not in it.
CREATE INDEX demands_open ON demands (phase, created_seq) WHERE status = 'processing';

-- One row per demand: how far its negotiation is and how it ended.
CREATE VIEW negotiations AS
SELECT d.demand_id      AS demand_id,
       d.surface_demand AS demand,
       d.user_id        AS user_id,
       d.status         AS status,
       d.phase          AS phase,
       d.current_round  AS rounds,
       d.created_at     AS started,
       d.updated_at     AS last_activity,
       CASE WHEN d.status <> 'processing' THEN (
           SELECT e.payload ->> '$.reason'
           FROM events AS e
           WHERE e.stream = 'demand:' || d.demand_id
             AND e.event_type IN ('towow.proposal.finalized', 'towow.negotiation.failed', 'towow.negotiation.cancelled')
           ORDER BY e.seq
           LIMIT 1
       ) END            AS outcome_reason
FROM demands AS d;

-- Every event of every demand with one readable sentence; filter by demand_id through stream, which is indexed.
CREATE VIEW negotiation_timeline AS
SELECT substr(e.stream, 8) AS demand_id,
       e.seq               AS seq,
       e.timestamp         AS timestamp,
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
           WHEN 'towow.demand.broadcast' THEN 'the demand was sent to the agents'
           WHEN 'towow.offer.submitted' THEN coalesce(e.payload ->> '$.agent_id', 'an agent') || ' made an offer'
           WHEN 'towow.proposal.distributed' THEN
               'a proposal was distributed' || coalesce(' in round ' || (e.payload ->> '$.round'), '')
           WHEN 'towow.proposal.feedback' THEN
               coalesce(e.payload ->> '$.agent_id', 'an agent') || ' answered: ' || coalesce(e.payload ->> '$.decision', '?')
           WHEN 'towow.proposal.finalized' THEN 'agreed'
           WHEN 'towow.negotiation.failed' THEN 'failed: ' || coalesce(e.payload ->> '$.reason', 'no reason given')
           WHEN 'towow.negotiation.cancelled' THEN 'cancelled: ' || coalesce(e.payload ->> '$.reason', 'no reason given')
           WHEN 'towow.gap.identified' THEN 'missing: ' || coalesce(e.payload ->> '$.gap', e.payload ->> '$.capability', '?')
           WHEN 'towow.subnet.triggered' THEN 'a sub-negotiation began: ' || coalesce(e.payload ->> '$.subnet_id', '?')
           WHEN 'towow.subnet.completed' THEN 'a sub-negotiation ended: ' || coalesce(e.payload ->> '$.subnet_id', '?')
           ELSE e.event_type
       END                 AS what
FROM events AS e
WHERE e.stream GLOB 'demand:*';

-- Every offer that an agent made.
CREATE VIEW offers AS
SELECT substr(e.stream, 8)         AS demand_id,
       e.payload ->> '$.agent_id'  AS agent_id,
       e.payload -> '$.offer'      AS offer,      -- JSON
       e.timestamp                 AS timestamp,
       e.seq                       AS seq
FROM events AS e
WHERE e.stream GLOB 'demand:*' AND e.event_type = 'towow.offer.submitted';

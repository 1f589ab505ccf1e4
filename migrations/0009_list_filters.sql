-- Filters of the lists: each is a walk along an index in the order of the list, so that a page costs its rows, not the table.
--
-- A filter whose value is rare would otherwise look at every row of the table before its page is full.

-- Demands that somebody submitted, by status and by user; sub-negotiations are few to each parent and have their index.
CREATE INDEX demands_by_status ON demands (status, created_seq) WHERE parent_demand_id IS NULL;
CREATE INDEX demands_by_user ON demands (user_id, created_seq) WHERE parent_demand_id IS NULL;

-- Sessions of one operator; most sessions have none.
CREATE INDEX sessions_by_agent ON sessions (agent_id, created_seq) WHERE agent_id IS NOT NULL;

-- Runs of one mode, which may be rare.
CREATE INDEX runs_by_mode ON runs (mode, created_seq);

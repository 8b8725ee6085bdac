-- The oldest version of the code that can use the schema afterwards:
-- oldest: 1

-- The identity tells this schema from those of other databases.
CREATE TABLE umbel.format (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    oldest integer NOT NULL,
    identity text NOT NULL DEFAULT md5(random()::text || clock_timestamp()::text)
);

-- The server's time in seconds since 1970. All spans and dates are measured by it.
CREATE FUNCTION umbel.moment() RETURNS double precision LANGUAGE sql VOLATILE
    AS 'SELECT extract(epoch FROM clock_timestamp())::double precision';

-- Numbers everything that must be ordered, and never gives a number twice.
CREATE SEQUENCE umbel.number;

-- A message is delayed while due_at is set, claimed while owner is set, else ready.
CREATE TABLE umbel.message (
    seq bigint PRIMARY KEY DEFAULT nextval('umbel.number'),
    rank bigint NOT NULL DEFAULT nextval('umbel.number'),
    enqueued_at double precision NOT NULL,
    due_at double precision,
    fence bigint NOT NULL DEFAULT 0,
    grip bigint,
    deliveries integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    priority smallint NOT NULL,
    begun smallint NOT NULL DEFAULT 0,
    id text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    owner text COLLATE "C",
    head bytea NOT NULL,
    body bytea NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 20000,
    vacuum_truncate = false
);
CREATE INDEX message_ready ON umbel.message (queue, priority DESC, rank)
    WHERE owner IS NULL AND due_at IS NULL;
CREATE INDEX message_delayed ON umbel.message (due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX message_claimed ON umbel.message (owner) WHERE owner IS NOT NULL;

CREATE TABLE umbel.owner (
    name text COLLATE "C" PRIMARY KEY,
    until double precision NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE umbel.binding (
    exchange text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    pattern text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    PRIMARY KEY (exchange, queue, pattern, owner)
);
CREATE INDEX binding_queue ON umbel.binding (queue);
CREATE INDEX binding_owner ON umbel.binding (owner) WHERE owner <> '';

CREATE TABLE umbel.dead (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    queue text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    at double precision NOT NULL,
    head bytea,
    body bytea NOT NULL,
    evidence text NOT NULL
);

CREATE TABLE umbel.result (
    id text COLLATE "C" PRIMARY KEY,
    status text NOT NULL,
    final boolean NOT NULL,
    stored_at double precision NOT NULL,
    expires double precision,
    expires_at double precision,
    content_type text NOT NULL,
    payload bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX result_expires ON umbel.result (expires_at) WHERE expires_at IS NOT NULL;

-- Who is to be notified of what, once. Nobody waits any more after a crash of the server.
CREATE UNLOGGED TABLE umbel.waiting (
    topic text COLLATE "C" NOT NULL,
    ticket bigint NOT NULL,
    mailbox text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, ticket)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX waiting_ticket ON umbel.waiting (ticket);

CREATE TABLE umbel.broadcast (
    mark bigint PRIMARY KEY DEFAULT nextval('umbel.number'),
    at double precision NOT NULL,
    channel text COLLATE "C" NOT NULL,
    payload bytea NOT NULL
);

CREATE TABLE umbel.lease (
    name text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    until double precision NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX lease_until ON umbel.lease (until);

CREATE TABLE umbel.bucket (
    name text COLLATE "C" PRIMARY KEY,
    full_at double precision NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE umbel.slot (
    name text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    until double precision NOT NULL,
    PRIMARY KEY (name, holder)
) WITH (fillfactor = 50);
CREATE INDEX slot_until ON umbel.slot (until);

CREATE TABLE umbel.unique_key (
    key text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C" NOT NULL,
    until double precision NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX unique_key_until ON umbel.unique_key (until);

-- The statements of the hot path are functions, for the sake of their plans: those are kept, also
-- behind a pooler, and made under settings that always take the indexes. A plan that was made while
-- a table was small would otherwise read all of it when it has grown.

-- One row always comes, with or without a message: whether the owner's lease is in force, and in
-- how many seconds the next message is due. Messages that are due already are to join their queues
-- before anything is claimed, unless "late". The commit is not waited for.
CREATE FUNCTION umbel.claim(
    _owner text, _grip bigint, _queues text[], _shares bigint[], _limit bigint, _late boolean
) RETURNS TABLE (
    in_force boolean, due_in double precision, priority smallint, rank bigint, seq bigint,
    fence bigint, deliveries integer, crashes integer, id text, queue text, head bytea, body bytea
) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    WITH clock AS MATERIALIZED (SELECT umbel.moment() AS now),
    lease AS MATERIALIZED (
        SELECT FROM umbel.owner AS o WHERE o.name = _owner AND o.until > (SELECT now FROM clock)
        FOR KEY SHARE),
    delayed AS MATERIALIZED (
        SELECT min(m.due_at) - (SELECT now FROM clock) AS seconds FROM umbel.message AS m
        WHERE m.due_at IS NOT NULL),
    taken AS (
        UPDATE umbel.message AS m SET owner = _owner, grip = _grip, deliveries = m.deliveries + 1,
            fence = greatest(m.fence + 1, ((SELECT now FROM clock) * 1000000)::bigint)
        WHERE m.ctid = ANY (ARRAY (
            SELECT line.place FROM unnest(_queues, _shares) AS wanted (queue, share),
            LATERAL (
                SELECT n.ctid AS place FROM umbel.message AS n
                WHERE n.queue = wanted.queue AND n.owner IS NULL AND n.due_at IS NULL
                ORDER BY n.priority DESC, n.rank LIMIT wanted.share
                FOR UPDATE SKIP LOCKED) AS line
            WHERE EXISTS (SELECT FROM lease)
                AND (_late OR coalesce((SELECT seconds FROM delayed) > 0, true))
            LIMIT _limit))
        RETURNING m.priority, m.rank, m.seq, m.fence, m.deliveries, m.crashes - m.begun, m.id,
            m.queue, m.head, m.body)
    SELECT EXISTS (SELECT FROM lease), (SELECT seconds FROM delayed), taken.*
    FROM (VALUES (1)) AS always LEFT JOIN taken ON true;
END
$$;

-- Ends claims, stores the states that belong to those that were still held or to none, and puts in
-- the messages that follow them; returns which claims were held. No task may be named twice.
CREATE FUNCTION umbel.settle(
    _seqs bigint[], _fences bigint[],
    _result_ids text[], _statuses text[], _finals boolean[], _spans double precision[],
    _types text[], _payloads bytea[], _claims bigint[],
    _ids text[], _queues text[], _priorities smallint[], _dues double precision[],
    _heads bytea[], _bodies bytea[], _parents bigint[]
) RETURNS SETOF bigint LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    _now double precision := umbel.moment();
    _gone bigint[] := '{}';
    _part bigint[];
    _fence bigint;
BEGIN
    -- Claims of one batch share a fence. A join would be planned by the size the table had last.
    FOR _fence, _part IN
        SELECT fence, array_agg(seq) FROM unnest(_seqs, _fences) AS held (seq, fence) GROUP BY fence
    LOOP
        WITH gone AS (
            DELETE FROM umbel.message AS m
            WHERE m.seq = ANY (_part) AND m.fence = _fence AND m.owner IS NOT NULL
            RETURNING m.seq)
        SELECT _gone || coalesce(array_agg(seq), '{}') INTO _gone FROM gone;
    END LOOP;
    IF cardinality(_result_ids) > 0 THEN
        INSERT INTO umbel.result AS kept
            (id, status, final, stored_at, expires, expires_at, content_type, payload)
        SELECT id, status, final, _now, expires, _now + expires, content_type, payload
        FROM unnest(_result_ids, _statuses, _finals, _spans, _types, _payloads, _claims)
            AS new (id, status, final, expires, content_type, payload, claim)
        WHERE claim IS NULL OR claim = ANY (_gone)
        ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final,
            stored_at = excluded.stored_at, expires = excluded.expires,
            expires_at = excluded.expires_at, content_type = excluded.content_type,
            payload = excluded.payload
        WHERE kept.status <> 'SUCCESS' OR kept.expires_at <= excluded.stored_at;
    END IF;
    IF cardinality(_ids) > 0 THEN
        INSERT INTO umbel.message (id, queue, priority, due_at, enqueued_at, head, body)
        SELECT id, queue, priority, CASE WHEN due_at > _now THEN due_at END, _now, head, body
        FROM unnest(_ids, _queues, _priorities, _dues, _heads, _bodies, _parents)
            AS new (id, queue, priority, due_at, head, body, parent)
        WHERE parent IS NULL OR parent = ANY (_gone);
    END IF;
    RETURN QUERY SELECT unnest(_gone);
END
$$;

-- Lets messages that are due join the end of their queues, first due first; returns the queues.
CREATE FUNCTION umbel.promote(_limit bigint) RETURNS SETOF text LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    _now double precision := umbel.moment();
    _seq bigint;
BEGIN
    FOR _seq IN
        SELECT m.seq FROM umbel.message AS m WHERE m.due_at <= _now
        ORDER BY m.due_at, m.seq LIMIT _limit FOR UPDATE SKIP LOCKED
    LOOP
        RETURN QUERY UPDATE umbel.message AS m
            SET due_at = NULL, rank = nextval('umbel.number') WHERE m.seq = _seq
            RETURNING m.queue;
    END LOOP;
END
$$;

-- Takes as many of those who wait for each topic off the list as it has news, and notifies them.
-- Who is about to be notified by somebody else is left out.
CREATE FUNCTION umbel.wake(_topics text[], _numbers bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    _sent bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM umbel.waiting WHERE topic = ANY (_topics)) THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM umbel.waiting AS w WHERE w.ctid = ANY (ARRAY (
            SELECT listed.place FROM unnest(_topics, _numbers) AS news (topic, number),
            LATERAL (
                SELECT v.ctid AS place FROM umbel.waiting AS v WHERE v.topic = news.topic
                LIMIT news.number FOR UPDATE SKIP LOCKED) AS listed))
        RETURNING w.mailbox, w.ticket),
    numbered AS (
        SELECT mailbox, ticket, (row_number() OVER (PARTITION BY mailbox) - 1) / 300 AS part
        FROM gone),
    sent AS MATERIALIZED (
        SELECT pg_notify('umbel_' || mailbox, string_agg(ticket::text, ' '))
        FROM numbered GROUP BY mailbox, part)
    SELECT count(*) INTO _sent FROM sent;
END
$$;

-- Puts in messages within a transaction of the user's, and notifies everybody when it commits.
-- False, and nothing is done, if this is not the schema that is meant.
CREATE FUNCTION umbel.enqueue(_messages text, _channel text, _identity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    _now double precision := umbel.moment();
    _queue text;
BEGIN
    IF NOT EXISTS (SELECT FROM umbel.format WHERE identity = _identity) THEN
        RETURN false;
    END IF;
    INSERT INTO umbel.message (id, queue, priority, due_at, enqueued_at, head, body)
    SELECT id, queue, priority, CASE WHEN due_at > _now THEN due_at END, _now,
        decode(head, 'hex'), decode(body, 'hex')
    FROM json_to_recordset(_messages::json) AS new (
        id text, queue text, priority smallint, due_at double precision, head text, body text);
    FOR _queue IN
        SELECT DISTINCT queue FROM json_to_recordset(_messages::json) AS new (queue text)
    LOOP
        PERFORM pg_notify(
            _channel, CASE WHEN octet_length(_queue) < 7000 THEN 'q' || _queue ELSE '' END);
    END LOOP;
    RETURN true;
END
$$;

-- The oldest version of the code that can use the schema afterwards:
-- oldest: 1

CREATE TABLE umbel.format (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    oldest integer NOT NULL
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

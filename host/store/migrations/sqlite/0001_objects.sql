-- The change log. rv is the resourceVersion; a row holds the whole object, so the row of an object's newest change *is* the object.
create table change (
    rv        integer primary key,
    kind      integer not null,             -- 0 added, 1 modified, 2 deleted
    grp       text    not null,
    plural    text    not null,
    namespace text,                         -- null for cluster-scoped kinds
    name      text    not null,
    uid       text    not null,
    prev      integer,                      -- rv of the row that this change superseded
    key_id    text,                         -- the key the body is encrypted with; null: in the clear
    body      blob    not null
);

-- What exists now: a pointer into the log for each object.
create table object (
    id        integer primary key,
    grp       text    not null,
    plural    text    not null,
    namespace text    not null,             -- '' for cluster-scoped kinds: null would escape the unique constraint
    name      text    not null,
    uid       text    not null,
    rv        integer not null,
    unique (grp, plural, namespace, name)
);

-- One row for each object that has a reconciler. Times are microseconds since 1970.
create table workitem (
    object   integer primary key references object (id) on delete cascade,
    wanted   integer not null,
    done     integer not null,
    class    integer not null,
    due_at   integer,
    attempts integer not null,
    owner    text,
    epoch    integer not null,
    until    integer not null
);

-- Who refers to what; the referenced object need not exist.
create table edge (
    object    integer not null references object (id) on delete cascade,
    position  integer not null,
    grp       text    not null,
    plural    text    not null,
    namespace text,
    name      text    not null,
    role      text    not null,
    field     text    not null,
    primary key (object, position)
) without rowid;

-- What the last accepted run left for the next. Always encrypted: it may hold connections.
create table carried (
    object integer primary key references object (id) on delete cascade,
    key_id text    not null,
    value  blob    not null
);

-- What is on targets because of an object. `state` is encrypted: it may hold what was last applied.
create table inventory (
    object      integer not null references object (id) on delete cascade,
    target      text    not null,
    api_version text    not null,
    kind        text    not null,
    namespace   text    not null,           -- '' for cluster-scoped
    name        text    not null,
    uid         text,
    stage       integer not null,
    key_id      text    not null,
    state       blob    not null,
    primary key (object, target, api_version, kind, namespace, name)
) without rowid;

-- Content-addressed: components, charts.
create table blob (
    digest text primary key,
    bytes  blob not null
);

-- Positions that outlive the rows they speak of.
create table meta (
    name  text primary key,
    value integer not null
) without rowid;

-- Everything up to `compacted` is no longer in the log. It starts at 1 because clients take resourceVersion 0 for "any".
insert into meta (name, value) values ('compacted', 1);

-- The same tables as on SQLite, and the journal. Every writer holds one lock while it writes, so what a row refers to is there: foreign keys would
-- only cost. Numbers are bigint because both engines are read alike. Times are microseconds since 1970.

-- What commits in which order: one row for each group of requests. Its key is the order itself: two writers who did not see each other cannot both
-- commit. The newest row says where the next group starts; `news` is what other hosts hold in memory and no change says.
create table journal (
    seq       bigint  primary key,
    writer    text    not null,             -- who wrote it: after a lost answer to COMMIT, this tells whether it happened
    rv        bigint  not null,             -- the newest change
    next_id   bigint  not null,             -- first number for a new object
    compacted bigint  not null,             -- everything up to here is no longer in the log
    reasons   bigint  not null,             -- how many reasons to look at suspects were counted
    format    bigint  not null,             -- a host that does not know this format must not go on
    news      text    not null
);

insert into journal (seq, writer, rv, next_id, compacted, reasons, format, news) values (1, '', 1, 1, 1, 0, 1, '{}');

-- What hosts must know to use this database; see the migrations.
create table meta (
    name  text   primary key,
    value bigint not null
);

-- A migration that older hosts cannot live with raises this to its own number.
insert into meta (name, value) values ('needs', 1);

create table change (
    rv        bigint primary key,
    object    bigint not null,              -- number of the object
    kind      bigint not null,              -- 0 added, 1 modified, 2 deleted
    grp       text   not null,
    plural    text   not null,
    namespace text,                         -- null for cluster-scoped kinds
    name      text   not null,
    uid       text   not null,
    prev      bigint,                       -- rv of the row that this change superseded
    key_id    text,                         -- the key the body is encrypted with; null: in the clear
    sum       bigint not null,              -- CRC-32 of the object's name and the body as it is stored
    body      bytea  not null
);

create table object (
    id        bigint primary key,
    grp       text   not null,
    plural    text   not null,
    namespace text   not null,              -- '' for cluster-scoped kinds
    name      text   not null,
    uid       text   not null,
    rv        bigint not null,
    unique (grp, plural, namespace, name)
) with (fillfactor = 80);

create table workitem (
    object   bigint primary key,
    wanted   bigint not null,
    done     bigint not null,
    class    bigint not null,
    due_at   bigint,
    attempts bigint not null,
    owner    text,
    epoch    bigint not null,
    until    bigint not null,
    trace    text
) with (fillfactor = 60);

create table edge (
    object    bigint not null,
    position  bigint not null,
    grp       text   not null,
    plural    text   not null,
    namespace text,
    name      text   not null,
    role      text   not null,
    field     text   not null,
    primary key (object, position)
);

create table owner (
    object bigint not null,
    uid    text   not null,
    primary key (object, uid)
);

create table suspect (
    object bigint primary key,
    seq    bigint not null
);

create table carried (
    object bigint primary key,
    key_id text   not null,
    value  bytea  not null
);

create table inventory (
    object      bigint  not null,
    target      text    not null,
    api_version text    not null,
    kind        text    not null,
    namespace   text    not null,           -- '' for cluster-scoped
    name        text    not null,
    uid         text,
    stage       integer not null,
    key_id      text    not null,
    state       bytea   not null,
    primary key (object, target, api_version, kind, namespace, name)
);

create table blob (
    id      bigint primary key,
    digest  text   unique,                  -- null while it is being uploaded
    size    bigint not null,
    touched bigint not null                 -- when it was uploaded, or asked to stay
);

create table blob_chunk (
    blob     bigint not null references blob (id) on delete cascade,
    position bigint not null,
    bytes    bytea  not null,
    primary key (blob, position)
);

-- Compressed already, most of them.
alter table blob_chunk alter column bytes set storage external;

create table keyring (
    key_id text primary key
);

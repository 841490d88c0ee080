-- Blobs come in pieces and are found by digest when the last one is there. Times are microseconds since 1970.
drop table blob;

create table blob (
    id      integer primary key,
    digest  text    unique,                 -- null while it is being uploaded
    size    integer not null,
    touched integer not null                -- when it was uploaded, or asked to stay
);

create table blob_chunk (
    blob     integer not null references blob (id) on delete cascade,
    position integer not null,
    bytes    blob    not null,
    primary key (blob, position)
);

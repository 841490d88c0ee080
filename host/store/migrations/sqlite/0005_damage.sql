-- What tells damage from data: SQLite notices broken pages, but not a byte that changed within a value.
alter table change add column sum integer;  -- CRC-32 of the object's name and the body as it is stored; null in rows of earlier versions

-- The keys that rows are encrypted with: a server that has another one must not start to write with it.
create table keyring (
    key_id text primary key
) without rowid;

insert into keyring select distinct key_id from change where key_id is not null union select distinct key_id from carried;

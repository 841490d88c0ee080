-- Who owns an object, by uid: what its metadata.ownerReferences say. The owner need not exist.
create table owner (
    object integer not null references object (id) on delete cascade,
    uid    text    not null,
    primary key (object, uid)
);

-- What the collector has to look at, written with what gave the reason. seq rises with each reason: a row is settled only as it was seen.
create table suspect (
    object integer primary key references object (id) on delete cascade,
    seq    integer not null
);

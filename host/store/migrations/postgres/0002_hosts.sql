-- Which hosts there are. Not logged: what it says is good for moments, so it costs no sync, and after a crash of the server every host says again that
-- it is there. Hosts that do not know this table work on without it: nobody hears of them, and nothing waits for them.
create unlogged table host (
    name    text   primary key,             -- what it claims work with; another one at each start
    version text   not null,
    started bigint not null,                -- microseconds since 1970, of the server's clock as all times here
    lease   bigint not null,                -- how long it is believed to be there, and its claims hold; microseconds
    ahead   bigint not null,                -- how far its clock is ahead of the server's; microseconds
    heard   bigint not null                 -- when it said last that it is there
) with (fillfactor = 50);

-- Who ran it last and watches what it has on targets.
alter table workitem add column watcher text;

-- Bare SQL that does what a host's queue does, run by pgbench on a copy of a host's own database: claims of ten, completed one by one, each in a durable
-- transaction of its own, as an engineer would write it who needs nothing else.
--
-- The same:    leases with epochs; a completion counts only under its epoch; the new version of the object goes into the change log and becomes the
--              current one; what the run carries is kept; synchronous_commit; the same rows of the same size, in the same tables.
-- Ours besides: the journal, so that versions appear in the order of commits and a watch can resume; shares of namespaces and plugins; checks of references;
--              checksums of bodies; notifications for the other hosts; decoding and encoding of the objects.
-- Here besides: an index of what is due, since SQL has to look for it (a host knows it); the object is read after the claim (a host holds it).
--
-- Variables: body (the object with its new status), carried (what the run leaves). What follows the line "-- for each" is done ten times, with :number.

with due as (
    select object from workitem where owner is null and due_at <= (extract(epoch from now()) * 1000000)::bigint order by class, due_at limit 10 for update skip locked
), claimed as (
    update workitem set owner = 'host' || :client_id, epoch = epoch + 1, until = (extract(epoch from now()) * 1000000)::bigint + 60000000 from due where workitem.object = due.object
    returning workitem.object, epoch
)
select coalesce(array_agg(object), '{}')::text as objects, coalesce(array_agg(epoch), '{}')::text as epochs from claimed \gset
select change.body from object join change using (rv) where object.id = any(:objects::bigint[]);
select object, value from carried where object = any(:objects::bigint[]);
select object, target, api_version, kind, namespace, name, uid, stage, state from inventory where object = any(:objects::bigint[]);
-- for each
\set number :number
with held as (
    update workitem set owner = null, done = wanted, class = 3, attempts = 0, due_at = (extract(epoch from now()) * 1000000)::bigint + 600000000
    where object = (:objects::bigint[])[:number] and owner = 'host' || :client_id and epoch = (:epochs::bigint[])[:number]
    returning object
), logged as (
    insert into change (rv, object, kind, grp, plural, namespace, name, uid, prev, key_id, sum, body)
    select nextval('bare_version'), id, 1, grp, plural, namespace, name, uid, rv, null, 0, convert_to(:body, 'UTF8') from held join object on id = held.object
    returning object, rv
), kept as (
    insert into carried (object, key_id, value) select object, 'none', convert_to(:carried, 'UTF8') from held
    on conflict (object) do update set key_id = excluded.key_id, value = excluded.value
)
update object set rv = logged.rv from logged where object.id = logged.object;

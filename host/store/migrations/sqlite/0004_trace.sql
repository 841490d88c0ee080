-- The traceparent of the write that made an item due, for operators: the run belongs to that write's trace. Nothing is lost with it.
alter table workitem add column trace text;

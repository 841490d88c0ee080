-- Objects that were stored before there was a table of owners are not in it. Bodies may be encrypted, so the server fills it, when it opens the database:
-- once, which 1 says.
insert into meta (name, value) values ('owners_filled', 0);

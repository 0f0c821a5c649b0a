-- What an item takes of the room of the worker that leases it, as JSON; NULL for nothing.
ALTER TABLE work ADD COLUMN resources TEXT;

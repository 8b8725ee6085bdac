-- with leaving
-- Delete every message of a queue that nobody holds.  ARGV[5] queue; returns how many.
return purge(ARGV[5])

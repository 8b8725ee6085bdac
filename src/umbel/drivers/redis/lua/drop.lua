-- with leaving
-- Delete a queue with its bindings and what nobody holds.  ARGV[5] queue; returns how many.
return drop(ARGV[5])

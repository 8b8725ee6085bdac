-- with claims returning
-- Give back what an owner was given by calls whose replies were lost.
-- ARGV[5] owner, ARGV[6…] the names of the calls.
local lost = {}
for at = 6, #ARGV do lost[ARGV[at]] = true end
return (take_back(ARGV[5], math.huge, function(claim)
  return lost[claim.call] and uncharged(claim)
end))

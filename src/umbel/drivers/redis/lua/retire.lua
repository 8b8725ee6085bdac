-- with claims returning leaving
-- Forget an owner and give back what it holds, uncharged.  ARGV[5] owner.
take_back(ARGV[5], math.huge, uncharged)
forget(ARGV[5])

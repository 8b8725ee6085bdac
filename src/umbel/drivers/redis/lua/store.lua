-- with results
-- Keep states of tasks.  From ARGV[5], each as `store`.
for at = 5, #ARGV, 5 do store(at) end

-- Keep states of tasks.  From ARGV[5], each as `store`.
for at = 5, #ARGV, 6 do store(at) end

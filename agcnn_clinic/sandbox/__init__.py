"""Child processes that read files which may be broken or hostile: limits, confinement, and answers that run nothing.

ahead     what the children need is loaded while this process loads its own
pool      the parent's side: children, deadlines, and what the end of one says about its file
child     the child's side: a task, an answer, the next task
confine   what a child gives up before its first task: writing, the network, other processes
wire      how an answer crosses the pipe
"""

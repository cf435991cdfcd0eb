"""Child processes that read files which may be broken or hostile: limits, confinement, and answers that run nothing.

pool      the parent's side: children, deadlines, and what the end of one says about its file
child     the child's side: a task, an answer, the next task
confine   what a child gives up before its first task: writing, the network, other processes
wire      how an answer crosses the pipe
"""

from agcnn_clinic.sandbox.pool import Sandbox, load_ahead

__all__ = ["Sandbox", "load_ahead"]
